//! Registries of images, as whoever runs this program knows them: clients that have the user's settings and credentials, and what people
//! are told when a registry does not do what was asked.

use std::collections::HashMap;
use std::path::PathBuf;

use barge_image::registry::{Places, Settings, config};
use barge_image::{Client, Credentials, RegistryError};

use crate::failure::{Failure, Kind};
use crate::places;

/// Where the user's files about registries are.
pub(crate) fn user_places() -> Places {
    Places::of_user(places::config(), places::cache())
}

/// A client with the user's settings; `credentials` are known beside those that the user's files have.
pub(crate) fn client(credentials: HashMap<String, Credentials>) -> Result<Client, Failure> {
    let settings = Settings::read(&user_places()).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    Ok(Client::with_settings(Settings { credentials, ..settings }))
}

/// Who one is to a registry, said on the command line: a name, and a file with the password.
pub(crate) fn credentials(
    host: &str,
    username: Option<&String>,
    password: Option<&PathBuf>,
) -> Result<HashMap<String, Credentials>, Failure> {
    let (Some(username), Some(path)) = (username, password) else { return Ok(HashMap::new()) };
    let password = std::fs::read_to_string(path)
        .map_err(|error| Failure::io(format!("read the password in {}", path.display()), &error))?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    Ok(HashMap::from([(host.to_owned(), Credentials::Basic { username: username.clone(), password })]))
}

/// What kind of failure an error is, and what to do about it, where more can be said than what it says itself.
pub(crate) fn failure(error: &RegistryError) -> Failure {
    let (kind, hint) = match error {
        RegistryError::Unauthorized { host, .. } => {
            (Kind::Refused, Some(format!("`barge login {host}` says who you are there")))
        }
        RegistryError::Plain { host } => (Kind::Refused, Some(allow(host, "http: true, credentials_over_http: true"))),
        RegistryError::Open { other, .. } => (Kind::Refused, Some(allow(other, "http: true"))),
        RegistryError::Unreachable { host, source } => (Kind::Unreachable, unreachable(host, source)),
        RegistryError::Silent { .. } => (Kind::Unreachable, None),
        RegistryError::Damaged { cached: true, .. } => {
            (Kind::General, Some("it is removed; the same command again makes it anew, or fetches it".to_owned()))
        }
        RegistryError::Damaged { cached: false, .. } => {
            (Kind::General, Some("put a copy of the base there that is whole".to_owned()))
        }
        RegistryError::Keychain { host, .. } => {
            (Kind::General, Some(format!("`barge login {host}` stores who you are; see docs/registries.md")))
        }
        _ => (Kind::General, None),
    };
    Failure::from_error(kind, error).hint_if(hint)
}

/// Why a registry cannot be reached, as far as it is known from the words of the TLS library, which has no others.
pub(crate) fn unreachable(host: &str, error: &reqwest::Error) -> Option<String> {
    let words = barge_runtime::chain(error);
    if words.contains("InvalidContentType") {
        return Some(format!(
            "if it speaks plain HTTP and the network is one that you trust: {}",
            allow(host, "http: true")
        ));
    }
    if words.contains("UnknownIssuer") {
        let place = places::config().map_or_else(|| "~/.config/barge".to_owned(), |place| place.display().to_string());
        return Some(format!("put the certificate of its authority into {place}/certs.d/{host}/ca.crt"));
    }
    None
}

/// How to allow it.
fn allow(host: &str, what: &str) -> String {
    let place = places::config().unwrap_or_else(|| PathBuf::from("~/.config/barge"));
    format!("allow it in {}: `registries: {{\"{host}\": {{{what}}}}}`", place.join(config::FILE).display())
}
