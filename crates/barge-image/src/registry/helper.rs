//! Credential helpers of Docker (docker-credential-helpers, "Development"): a program `docker-credential-NAME` that is told an action by
//! its argument and a registry on its standard input, and answers with JSON.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::Credentials;

/// How long a helper may take; it may have to ask somebody for a passphrase.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest answer that is read, in bytes.
const ANSWER_LIMIT: u64 = 1024 * 1024;
/// What helpers say of a registry that they know nothing of. They share these words; there is no code for it.
const UNKNOWN: [&str; 2] = ["credentials not found in native keychain", "no credentials server URL"];
/// The name under which helpers keep an identity token in the place of a password.
pub(super) const TOKEN_USER: &str = "<token>";

/// Why a helper was of no help.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Its name is none.
    #[error("{0:?} cannot be the name of a credential helper")]
    Name(String),
    /// It cannot be started.
    #[error("start the credential helper {program}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It does not end.
    #[error("the credential helper {program} did not answer within {limit:?}")]
    Silent {
        /// The program.
        program: String,
        /// So long was waited.
        limit: Duration,
    },
    /// It cannot be spoken with.
    #[error("speak with the credential helper {program}")]
    Broken {
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It says that it failed.
    #[error("the credential helper {program} failed ({status}): {words}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        words: String,
    },
    /// Its answer is not understood.
    #[error("the credential helper {program} did not answer with a name and a secret in JSON")]
    Answer {
        /// The program.
        program: String,
    },
}

/// A credential helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Helper {
    program: String,
    limit: Duration,
}

impl Helper {
    /// The helper with this name in Docker's configuration.
    pub(super) fn new(name: &str) -> Result<Self, HelperError> {
        let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !good {
            return Err(HelperError::Name(name.chars().take(100).collect()));
        }
        Ok(Self { program: format!("docker-credential-{name}"), limit: LIMIT })
    }

    /// Its program.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// What it has for `server`.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credentials>, HelperError> {
        let answer = match self.run("get", server).await {
            Err(HelperError::Failed { words, .. }) if UNKNOWN.iter().any(|known| words.contains(known)) => {
                return Ok(None);
            }
            answer => answer?,
        };
        let document: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let field = |name: &str| document[name].as_str().map(str::to_owned);
        let (Some(username), Some(secret)) = (field("Username"), field("Secret")) else {
            return Err(HelperError::Answer { program: self.program.clone() });
        };
        Ok(match (username.as_str(), secret.is_empty()) {
            (_, true) => None,
            (TOKEN_USER, _) => Some(Credentials::Identity { token: secret }),
            _ => Some(Credentials::Basic { username, password: secret }),
        })
    }

    /// Has it keep credentials.
    pub(super) async fn store(&self, server: &str, username: &str, password: &str) -> Result<(), HelperError> {
        let document = json!({ "ServerURL": server, "Username": username, "Secret": password });
        self.run("store", &document.to_string()).await.map(drop)
    }

    /// Has it forget a registry.
    pub(super) async fn erase(&self, server: &str) -> Result<(), HelperError> {
        match self.run("erase", server).await {
            Err(HelperError::Failed { words, .. }) if UNKNOWN.iter().any(|known| words.contains(known)) => Ok(()),
            result => result.map(drop),
        }
    }

    async fn run(&self, action: &str, input: &str) -> Result<Vec<u8>, HelperError> {
        let program = || self.program.clone();
        let child = Command::new(&self.program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = child.map_err(|source| HelperError::Start { program: program(), source })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talk = async {
            let tell = async {
                if let Some(mut stdin) = stdin {
                    // One that answers without reading has closed it, which is no failure.
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
            };
            let (mut answer, mut complaint) = (Vec::new(), Vec::new());
            let read = async {
                let hear = async {
                    match stdout {
                        Some(stdout) => stdout.take(ANSWER_LIMIT).read_to_end(&mut answer).await,
                        None => Ok(0),
                    }
                };
                let listen = async {
                    match stderr {
                        Some(stderr) => stderr.take(ANSWER_LIMIT).read_to_end(&mut complaint).await,
                        None => Ok(0),
                    }
                };
                tokio::try_join!(hear, listen)
            };
            let ((), read) = tokio::join!(tell, read);
            read?;
            Ok::<_, std::io::Error>((child.wait().await?, answer, complaint))
        };
        let ended = tokio::time::timeout(self.limit, talk).await;
        let ended = ended.map_err(|_| HelperError::Silent { program: program(), limit: self.limit })?;
        let (status, answer, complaint) = ended.map_err(|source| HelperError::Broken { program: program(), source })?;
        if status.success() {
            return Ok(answer);
        }
        // Helpers complain on standard output, programs that merely crash elsewhere.
        let words = if answer.trim_ascii().is_empty() { complaint } else { answer };
        let words: String = String::from_utf8_lossy(words.trim_ascii()).chars().take(300).collect();
        Err(HelperError::Failed { program: program(), status, words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_helper_that_does_not_end_is_given_up() {
        let helper = Helper { program: "sleep".to_owned(), limit: Duration::from_millis(50) };
        let error = helper.run("60", "").await.unwrap_err();
        assert!(matches!(error, HelperError::Silent { .. }), "{error}");
    }

    #[test]
    fn a_name_that_is_a_path_is_none() {
        for name in ["", "../evil", "a b", "a;b", "a$b"] {
            assert!(matches!(Helper::new(name), Err(HelperError::Name(_))), "{name:?}");
        }
        assert_eq!(Helper::new("pass").unwrap().program(), "docker-credential-pass");
    }
}
