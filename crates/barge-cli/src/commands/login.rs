//! `barge login`: who one is to a registry of images, tried there and kept where Docker keeps it, or Podman where its file counts first.
//!
//! A platform needs no such command: `barge up` logs its user in, and everybody else has a token.

use std::collections::HashMap;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;

use barge_image::registry::login::{Kept, Stored, keep};
use barge_image::registry::{KeychainError, is_host};
use barge_image::{Credentials, RegistryError};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde::Serialize;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::registries;
use crate::terminal::{Style, Terminal};

/// The longest password that is read, in bytes. Some registries have tokens of some kilobytes as passwords.
const PASSWORD_LIMIT: u64 = 64 * 1024;

const EXAMPLES: &str = "\
The registry is asked whether it accepts the name and the password. They are kept in the file that `REGISTRY_AUTH_FILE` names, as \
`podman login` does, else where `docker login` keeps them: by the credential helper that Docker's config.json names, else in that file \
itself, which nobody else can read then. Registries that bases come from, and \
the one of an environment, are asked with them. The platform's own registry needs no login.

Examples:
  barge login registry.example
  barge login registry.example:5000 --username 'robot$ci' --password-stdin < token
  barge logout registry.example";

/// Say who you are to a registry of images
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Its host, with a port or not
    #[arg(value_name = "REGISTRY", value_parser = registry)]
    registry: String,
    /// Your name there [default: asked for]
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password, or the token that is used as one, from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    registry: String,
    username: String,
    /// Whether the registry asked for them.
    checked: bool,
    /// The helper that keeps them, else the file.
    kept: String,
}

/// A registry as people name it in `login` and `logout`.
pub(super) fn registry(text: &str) -> Result<String, String> {
    if is_host(text) {
        return Ok(text.to_ascii_lowercase());
    }
    let host = text.split("://").last().and_then(|rest| rest.split('/').next()).filter(|host| is_host(host));
    Err(match host {
        Some(host) => format!("a registry is named by its host alone: {host}"),
        None => "not a host such as registry.example or registry.example:5000".to_owned(),
    })
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let registry = args.registry;
    let (username, password) = ask(&registry, args.username, args.password_stdin).await?;
    if username.is_empty() || username.contains(':') || password.is_empty() {
        let what = "a name is not empty and has no colon, and a password is not empty";
        return Err(Failure::new(Kind::Usage, what).hint("nothing was stored"));
    }
    let known = Credentials::Basic { username: username.clone(), password: password.clone() };
    let client = registries::client(HashMap::from([(registry.clone(), known)]))?;
    let checked = client.check(&registry).await.map_err(|error| refused(&registry, &error))?;
    let stored = keep(&registries::user_places(), &registry, &username, &password).await;
    let failed = |error| unkept(&error).context(&format!("keep the login to {registry}"));
    let Stored { kept, narrower } = stored.map_err(failed)?;
    for group in narrower {
        terminal.warn(&format!("what is below {group} has a login of its own, which is as it was"));
    }
    if !checked {
        terminal.warn(&format!("{registry} lets everybody in, and did not look at the password"));
    }
    let kept = name(&kept);
    let answer = Answer { registry, username, checked, kept };
    terminal.data(&answer, |paint| {
        let done = format!("logged in to {} as {}", answer.registry, answer.username);
        format!("{}\nkept in {}", paint.paint(Style::Bold, &done), answer.kept)
    })
}

/// Where a login is kept, for people.
pub(super) fn name(kept: &Kept) -> String {
    match kept {
        Kept::File(path) => path.display().to_string(),
        Kept::Helper { program, .. } => program.clone(),
    }
}

pub(super) fn unkept(error: &KeychainError) -> Failure {
    let failure = Failure::from_error(Kind::General, error);
    match error {
        KeychainError::Helper { path, .. } => {
            failure.hint(format!("credsStore and credHelpers in {} say which helper is asked", path.display()))
        }
        _ => failure,
    }
}

fn refused(registry: &str, error: &RegistryError) -> Failure {
    let failure = match error {
        RegistryError::Unauthorized { .. } => {
            Failure::new(Kind::Refused, format!("the registry {registry} does not accept the name and the password"))
                .hint("nothing was stored; many registries want an access token in the place of the password")
        }
        error => registries::failure(error),
    };
    failure.context("log in")
}

/// Name and password: as given, else as somebody types them.
async fn ask(registry: &str, username: Option<String>, from_stdin: bool) -> Result<(String, String), Failure> {
    let failed = |error: std::io::Error| Failure::io("read the password", &error);
    if let (Some(username), true) = (&username, from_stdin) {
        return Ok((username.clone(), piped().await?));
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Usage, "there is no terminal to ask for the password on")
            .hint(format!("`barge login {registry} --username NAME --password-stdin < FILE` reads it from a file")));
    }
    let username = match username {
        Some(username) => username,
        None => prompt(format!("name at {registry}: ")).await.map_err(failed)?,
    };
    let silence = Silence::begin().map_err(failed)?;
    let password = prompt(format!("password or token of {username}: ")).await.map_err(failed)?;
    drop(silence);
    // The line end that was typed was not shown.
    let _ = writeln!(std::io::stderr());
    Ok((username, password))
}

/// All of standard input, without the line's end. In a thread of its own, so that Ctrl-C ends the command meanwhile.
async fn piped() -> Result<String, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(PASSWORD_LIMIT + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = read.await.map_err(std::io::Error::other).flatten();
    let bytes = bytes.map_err(|error| Failure::io("read the password", &error))?;
    let wrong = |what: String| Failure::new(Kind::Usage, what).hint("nothing was stored");
    if bytes.len() as u64 > PASSWORD_LIMIT {
        return Err(wrong(format!("standard input has more than {PASSWORD_LIMIT} bytes, which is no password")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("the password on standard input is not UTF-8".to_owned()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for a line. In a thread of its own, so that Ctrl-C ends the command meanwhile.
async fn prompt(question: String) -> std::io::Result<String> {
    let read = tokio::task::spawn_blocking(move || {
        write!(std::io::stderr(), "{question}")?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    });
    read.await.map_err(std::io::Error::other)?
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> std::io::Result<Self> {
        let input = std::io::stdin();
        let before = tcgetattr(input.as_fd())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(input.as_fd(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing either.
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::registry;

    #[test]
    fn a_registry_is_named_by_its_host() {
        assert_eq!(registry("Registry.Example:5000").unwrap(), "registry.example:5000");
        for (text, expected) in [
            ("https://registry.example/v2/", "by its host alone: registry.example"),
            ("registry.example/group", "by its host alone: registry.example"),
            ("registry", "not a host"),
            ("", "not a host"),
            ("a b.example", "not a host"),
        ] {
            let error = registry(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
