//! Registries that are spoken to over HTTP: one PUT for each call, on a connection of its own, so that nothing of a call outlives it.
//!
//! It leaves out TLS, which barge-init would double its size for: such a registry is reached through an agent on the same machine.

use std::net::TcpStream;
use std::time::Instant;

use super::connect::{self, Host, Trouble};
use super::secret::{Credentials, Secret};
use crate::http::{self, Answer};

/// How much of an answer is passed on to people.
const SHOWN: usize = 200;

/// Where a registry is, and what it asks for.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) host: Host,
    pub(super) credentials: Credentials,
    /// The header for the token, and what stands before it.
    pub(super) header: (&'static str, &'static str),
}

/// A connection for one request.
pub(super) struct Reached<'a> {
    site: &'a Site,
    secret: Option<Secret>,
    pub(super) stream: TcpStream,
    deadline: Instant,
}

/// What a registry answered.
pub(super) struct Said {
    pub(super) status: u16,
    /// The body, for machines.
    pub(super) body: String,
    /// Both, for people.
    pub(super) words: String,
}

impl Site {
    pub(super) fn reach(&mut self, deadline: Instant) -> Result<Reached<'_>, Trouble> {
        let secret = self.credentials.read().map_err(Trouble::Unreached)?;
        let stream = self.host.connect(deadline).map_err(Trouble::Unreached)?;
        Ok(Reached { site: self, secret, stream, deadline })
    }

    /// Connects and puts, where the body does not depend on the connection.
    pub(super) fn put(&mut self, path: &str, body: &str, deadline: Instant) -> Result<Said, Trouble> {
        self.reach(deadline)?.put(path, body)
    }
}

impl Reached<'_> {
    pub(super) fn put(self, path: &str, body: &str) -> Result<Said, Trouble> {
        let (name, before) = self.site.header;
        let value = self.secret.as_ref().map(|secret| format!("{before}{}", secret.reveal()));
        let header = value.as_deref().map(|value| (name, value));
        match http::put(self.stream, self.site.host.name(), path, header, body, self.deadline) {
            Ok(Answer::Http { status, body }) => {
                let words = shown(status, &body, self.secret.as_ref());
                Ok(Said { status, body, words })
            }
            Ok(Answer::Nothing) => Err(Trouble::Failed("the connection was closed without an answer".to_owned())),
            Ok(Answer::Other) => Err(Trouble::Failed("what answers there does not speak HTTP".to_owned())),
            Err(error) => Err(Trouble::Failed(connect::in_words(&error))),
        }
    }
}

/// A part of a path or of a query, with everything escaped that could mean something there.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn shown(status: u16, body: &str, secret: Option<&Secret>) -> String {
    // Before it is cut, which could leave a part of the token.
    let body = secret.map_or_else(|| body.to_owned(), |secret| secret.hide_in(body));
    let line: String = body.lines().next().unwrap_or_default().chars().filter(|letter| !letter.is_control()).collect();
    let line: String = line.chars().take(SHOWN).collect();
    format!("it answered {status} {line}").trim_end().to_owned()
}
