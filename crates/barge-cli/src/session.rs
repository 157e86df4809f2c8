//! Who we are to which server: the stored login, and a connection that knows environment and service.
//!
//! A token belongs to the server that gave it and is sent to no other, and never over an open network without TLS.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_api::{ApiError, Client, EnvironmentView, ReleaseView, ServiceStatus};
use barge_model::host::is_loopback;
use barge_model::{EnvironmentName, ReleaseId, ServiceName};
use barge_runtime::files;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::page;
use crate::places;
use crate::project::Project;
use crate::terminal::Terminal;

const LOGIN_FILE: &str = "client.json";
const TOKEN_VARIABLE: &str = "BARGE_TOKEN";
/// How often a change is tried whose connection breaks, and the pause between.
const CHANGE_TRIES: u32 = 3;
const CHANGE_PAUSE: Duration = Duration::from_millis(500);

/// A login as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The server's address.
    pub(crate) address: String,
    /// The token.
    pub(crate) token: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({}, ...)", self.address)
    }
}

/// The directory of the login.
pub(crate) fn config_directory() -> Result<PathBuf, Failure> {
    places::config().ok_or_else(|| {
        Failure::new(Kind::General, "there is no place for the login: neither HOME nor BARGE_CONFIG is set")
    })
}

impl Login {
    /// Stores the login in the user's configuration, readable by nobody else; the file that was there is replaced as a whole.
    pub(crate) fn store(&self) -> Result<PathBuf, Failure> {
        self.store_in(&config_directory()?)
    }

    /// Stores the login in `directory`.
    pub(crate) fn store_in(&self, directory: &Path) -> Result<PathBuf, Failure> {
        let path = directory.join(LOGIN_FILE);
        let fail = |error: std::io::Error| Failure::io(format!("store the login in {}", path.display()), &error);
        std::fs::create_dir_all(directory).map_err(fail)?;
        let text = serde_json::to_string_pretty(self).map_err(|error| fail(error.into()))?;
        files::replace(&path, text.as_bytes()).map_err(fail)?;
        Ok(path)
    }

    /// The stored login, if there is one.
    pub(crate) fn load(terminal: &Terminal) -> Result<Option<Self>, Failure> {
        let path = config_directory()?.join(LOGIN_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(format!("read the login {}", path.display()), &error)),
        };
        if let Ok(meta) = std::fs::metadata(&path)
            && meta.permissions().mode() & 0o077 != 0
        {
            let path = path.display();
            terminal.warn(&format!("others on this machine can read your token; run `chmod 600 {path}`"));
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Failure::new(Kind::General, format!("the login {} is damaged: {error}", path.display()))
                .hint("remove it and run `barge up`, which logs you in again")
        })
    }
}

/// A connection to a server.
pub(crate) struct Session {
    /// The client.
    pub(crate) client: Client,
    /// The token, for the platform's own registry.
    pub(crate) token: String,
    chosen: Chosen,
}

/// What was said on the command line and must be said again in the next command.
#[derive(Debug, Clone, Default)]
struct Chosen {
    environment: Option<EnvironmentName>,
    service: Option<ServiceName>,
}

/// A service in an environment, on a server.
pub(crate) struct Target {
    /// The connection.
    pub(crate) session: Session,
    /// The environment.
    pub(crate) environment: EnvironmentName,
    /// The service.
    pub(crate) service: ServiceName,
}

impl Session {
    /// Connects as the command line, the environment or the login say. Nothing is sent yet.
    pub(crate) fn open(globals: &Globals, terminal: &Terminal) -> Result<Self, Failure> {
        let token = given_token(globals)?;
        let login = match (&token, &globals.server) {
            (Some(_), Some(_)) => None,
            _ => Login::load(terminal)?,
        };
        let login = complete(login, globals.server.as_deref(), token)?;
        refuse_open_network(&login.address)?;
        let client = Client::new(&login.address, &login.token)?;
        let chosen = Chosen { environment: globals.environment.clone(), service: globals.service.clone() };
        Ok(Self { client, token: login.token, chosen })
    }

    /// The environment that is meant, with its registry.
    pub(crate) async fn environment(&self) -> Result<EnvironmentView, Failure> {
        let mut list = self.client.environments().await?.environments;
        let Some(wanted) = &self.chosen.environment else {
            return match list.into_iter().next() {
                Some(first) => Ok(first),
                None => Err(Failure::new(Kind::Refused, "the server has no environments that you may see")
                    .hint("`barge whoami` says what your token may do")),
            };
        };
        let names: Vec<String> = list.iter().map(|view| view.name.to_string()).collect();
        let found = list.iter().position(|view| view.name == *wanted).map(|at| list.swap_remove(at));
        found.ok_or_else(|| {
            Failure::new(Kind::Refused, format!("there is no environment {wanted}"))
                .hint(format!("choose one of: {}", names.join(", ")))
        })
    }
}

impl Target {
    /// Connects and finds out which service in which environment is meant.
    pub(crate) async fn open(globals: &Globals, terminal: &Terminal) -> Result<Self, Failure> {
        let service = service_name(globals)?;
        let session = Session::open(globals, terminal)?;
        // A round trip is spent only when no environment was named.
        let environment = match &session.chosen.environment {
            Some(name) => name.clone(),
            None => session.environment().await?.name,
        };
        Ok(Self { session, environment, service })
    }

    /// The client.
    pub(crate) fn client(&self) -> &Client {
        &self.session.client
    }

    /// The service's status.
    pub(crate) async fn status(&self) -> Result<ServiceStatus, Failure> {
        Ok(self.client().status(&self.environment, &self.service).await?)
    }

    /// The service's releases, newest first.
    pub(crate) async fn releases(&self) -> Result<Vec<ReleaseView>, Failure> {
        Ok(self.client().releases(&self.environment, &self.service).await?.releases)
    }

    /// The releases that a page about this status names. One that is not kept any longer has no page to be named on.
    pub(crate) async fn releases_of(&self, status: &ServiceStatus) -> Result<Vec<ReleaseView>, Failure> {
        let named = page::named(status);
        let asked = named.iter().map(|id| self.client().release(&self.environment, &self.service, id));
        let known = |answer: Result<ReleaseView, ApiError>| match answer {
            Ok(view) => Some(Ok(view)),
            Err(ApiError::Problem(problem)) if problem.status == 404 => None,
            Err(error) => Some(Err(Failure::from(error))),
        };
        join_all(asked).await.into_iter().filter_map(known).collect()
    }

    /// One release.
    pub(crate) async fn release(&self, id: &ReleaseId) -> Result<ReleaseView, Failure> {
        Ok(self.client().release(&self.environment, &self.service, id).await?)
    }

    /// The release that people name by its number or its id.
    pub(crate) async fn find_release(&self, name: &str) -> Result<ReleaseView, Failure> {
        let number = name.trim_start_matches('#').parse::<u32>().ok();
        let releases = self.releases().await?;
        let found = releases.into_iter().find(|view| match number {
            Some(number) => view.number == number,
            None => view.id.as_str().eq_ignore_ascii_case(name),
        });
        found.ok_or_else(|| {
            Failure::new(Kind::Refused, format!("{self} has no release {name}"))
                .hint(format!("`{}` lists them", self.command("releases")))
        })
    }

    /// A command for the same service and environment, to be shown to people.
    pub(crate) fn command(&self, rest: &str) -> String {
        let Chosen { environment, service } = &self.session.chosen;
        let mut line = format!("barge {rest}");
        if let Some(service) = service {
            line.push_str(&format!(" -m {service}"));
        }
        if let Some(environment) = environment {
            line.push_str(&format!(" -e {environment}"));
        }
        line
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.service, self.environment)
    }
}

/// Makes a change with an idempotency key, and asks again when the connection broke: the key, made once for each run of a command,
/// makes a repetition harmless.
pub(crate) async fn change<T>(call: impl AsyncFn(&str) -> Result<T, ApiError>) -> Result<T, Failure> {
    let key = ulid::Ulid::new().to_string();
    let mut tries = 1;
    loop {
        match call(&key).await {
            Err(ApiError::Unreachable { .. }) if tries < CHANGE_TRIES => tries += 1,
            result => return Ok(result?),
        }
        tokio::time::sleep(CHANGE_PAUSE).await;
    }
}

/// The service that is meant: `--service`, else the project here or above.
fn service_name(globals: &Globals) -> Result<ServiceName, Failure> {
    if let Some(name) = &globals.service {
        return Ok(name.clone());
    }
    let here = std::env::current_dir().map_err(|error| Failure::io("find the current directory", &error))?;
    let project = match Project::find(&here) {
        // A mistake elsewhere in the file must not keep anybody from rolling back.
        Err(mistake) => return Project::name_near(&here).ok_or(mistake),
        Ok(project) => project,
    };
    match project {
        Some(project) => Ok(project.manifest.name),
        None => {
            Err(Failure::new(Kind::Usage, "which service? There is no barge.yaml here or above, and no -m SERVICE")
                .hint("`barge services` lists the services; `barge init` writes a barge.yaml"))
        }
    }
}

fn given_token(globals: &Globals) -> Result<Option<String>, Failure> {
    let token = match &globals.token_file {
        Some(path) => std::fs::read_to_string(path)
            .map(Some)
            .map_err(|error| Failure::io(format!("read the token file {}", path.display()), &error))?,
        None => std::env::var(TOKEN_VARIABLE).ok(),
    };
    let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    match token {
        Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(Failure::new(Kind::Usage, "the token holds characters that no token has"))
        }
        token => Ok(token),
    }
}

/// Joins what is stored and what was given.
fn complete(login: Option<Login>, server: Option<&str>, token: Option<String>) -> Result<Login, Failure> {
    let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
    match (login, server, token) {
        (_, Some(server), Some(token)) => Ok(Login { address: server.to_owned(), token }),
        (Some(login), None, Some(token)) => Ok(Login { token, ..login }),
        (Some(login), None, None) => Ok(login),
        (Some(login), Some(server), None) if same(&login.address, server) => Ok(login),
        (_, Some(server), None) => Err(Failure::new(Kind::General, format!("you are not logged in to {server}"))
            .hint(format!("give its token in the variable {TOKEN_VARIABLE}, or with --token-file"))),
        (None, None, Some(_)) => Err(Failure::new(Kind::Usage, "there is a token and no server for it")
            .hint("name the server in the variable BARGE_SERVER, or with --server")),
        (None, None, None) => Err(Failure::new(Kind::General, "you are not logged in to a Barge server")
            .hint("`barge up` starts one on this machine and logs you in")),
    }
}

fn refuse_open_network(address: &str) -> Result<(), Failure> {
    let wrong = |why: &str| Failure::new(Kind::Usage, format!("the server's address {address:?} {why}"));
    let (scheme, rest) = address.split_once("://").ok_or_else(|| wrong("is not one such as https://barge.example"))?;
    let authority = rest.split('/').next().unwrap_or_default();
    match scheme {
        "https" => Ok(()),
        "http" if is_loopback(authority) => Ok(()),
        "http" => Err(wrong("would carry your token over the network in the open").hint("use its https:// address")),
        _ => Err(wrong("is not one such as https://barge.example")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(login: Option<&str>, server: Option<&str>, token: Option<&str>, expected: &str) {
        let login = login.map(|address| Login { address: address.to_owned(), token: "stored".to_owned() });
        let result = complete(login, server, token.map(str::to_owned));
        let text = match result {
            Ok(login) => format!("{} {}", login.address, login.token),
            Err(failure) => failure.text(str::to_owned).lines().next().unwrap().to_owned(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn a_token_goes_to_its_own_server_alone() {
        check(Some("http://a"), None, None, "http://a stored");
        check(Some("http://a"), Some("http://a/"), None, "http://a stored");
        check(Some("http://a"), Some("http://b"), None, "error: you are not logged in to http://b");
        check(Some("http://a"), Some("http://b"), Some("given"), "http://b given");
        check(Some("http://a"), None, Some("given"), "http://a given");
        check(None, None, Some("given"), "error: there is a token and no server for it");
        check(None, None, None, "error: you are not logged in to a Barge server");
    }

    #[test]
    fn no_token_travels_in_the_open() {
        for good in ["http://127.0.0.1:7400", "http://localhost:1", "http://[::1]:7400", "https://barge.example"] {
            assert!(refuse_open_network(good).is_ok(), "{good}");
        }
        for bad in ["http://barge.example", "http://10.0.0.1:7400", "http://127.0.0.1.example", "ftp://127.0.0.1", "x"]
        {
            assert!(refuse_open_network(bad).is_err(), "{bad}");
        }
    }
}
