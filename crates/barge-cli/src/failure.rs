//! What people and programs are told when a command does not succeed: what failed, on which object, why, and what to run next.
//!
//! Exit codes are part of the command line's contract; `barge --help` lists them.

use std::error::Error;
use std::io;

use barge_api::{ApiError, code};
use serde::Serialize;
use serde_json::{Value, json};

/// What kind of failure it is; each has an exit code and a word that stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something failed.
    General,
    /// The command line or barge.yaml is wrong.
    Usage,
    /// The release failed or was taken back.
    Release,
    /// The server refused.
    Refused,
    /// The server or the registry cannot be reached.
    Unreachable,
    /// A wait ran into its limit.
    TimedOut,
    /// Somebody pressed Ctrl-C, or a signal came.
    Interrupted,
    /// A program that was run ended so; there is nothing to say.
    Program(u8),
}

impl Kind {
    /// The exit code.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Kind::General => 1,
            Kind::Usage => 2,
            Kind::Release => 3,
            Kind::Refused => 4,
            Kind::Unreachable => 5,
            Kind::TimedOut => 6,
            Kind::Interrupted => 130,
            Kind::Program(code) => code,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::General => "failed",
            Kind::Usage => "usage",
            Kind::Release => "release_failed",
            Kind::Refused => "refused",
            Kind::Unreachable => "unreachable",
            Kind::TimedOut => "timed_out",
            Kind::Interrupted => "interrupted",
            Kind::Program(_) => "program",
        }
    }
}

/// The exit codes as `barge --help` shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    it worked
  1    something failed
  2    the command line or barge.yaml is wrong
  3    the release failed or was taken back
  4    the server refused: a conflict, no permission, no such thing
  5    the server or the registry cannot be reached
  6    a wait ran into its limit
  130  interrupted
  exec ends with the code of the program that it ran";

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    what: String,
    code: Option<String>,
    details: Vec<String>,
    hint: Option<String>,
    data: serde_json::Map<String, Value>,
}

impl Failure {
    /// A failure that `what` tells in a sentence.
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        let data = serde_json::Map::new();
        Self(Box::new(Inner { kind, what: what.into(), code: None, details: Vec::new(), hint: None, data }))
    }

    /// An error and its causes.
    pub(crate) fn from_error(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        Self::new(kind, barge_runtime::chain(error))
    }

    /// `doing` something with a file or a stream went wrong.
    pub(crate) fn io(doing: impl Into<String>, error: &io::Error) -> Self {
        Self::new(Kind::General, format!("{}: {error}", doing.into()))
    }

    /// A program ended with `code`, and has said itself why.
    pub(crate) fn program(code: u8) -> Self {
        Self::new(Kind::Program(code), "")
    }

    /// What failed, in a sentence.
    pub(crate) fn what(&self) -> &str {
        &self.0.what
    }

    /// What to run next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same where there is something to advise.
    pub(crate) fn hint_if(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// What was seen, line by line.
    #[must_use]
    pub(crate) fn details(mut self, details: Vec<String>) -> Self {
        self.0.details = details;
        self
    }

    /// A document that belongs to it, for `--json`.
    #[must_use]
    pub(crate) fn data(mut self, name: &str, value: &impl Serialize) -> Self {
        // What cannot be written as JSON is left out; the text says what matters.
        if let Ok(value) = serde_json::to_value(value) {
            self.0.data.insert(name.to_owned(), value);
        }
        self
    }

    /// The same, told as what somebody was `doing`.
    #[must_use]
    pub(crate) fn context(mut self, doing: &str) -> Self {
        self.0.what = format!("{doing}: {}", self.0.what);
        self
    }

    /// What kind it is.
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether the server answered that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        self.0.code.as_deref() == Some(code::NOT_FOUND)
    }

    /// The text for standard error; empty when there is nothing to say.
    pub(crate) fn text(&self, label: impl Fn(&str) -> String) -> String {
        if let Kind::Program(_) = self.0.kind {
            return String::new();
        }
        let mut text = format!("{} {}\n", label("error:"), self.0.what);
        if !self.0.details.is_empty() {
            text.push('\n');
        }
        for line in &self.0.details {
            text.push_str(line);
            text.push('\n');
        }
        if let Some(hint) = &self.0.hint {
            if !self.0.details.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("{} {hint}\n", label("hint:")));
        }
        text
    }

    /// The document for `--json`.
    pub(crate) fn json(&self) -> Value {
        let code = self.0.code.as_deref().unwrap_or(self.0.kind.word());
        let mut error = json!({
            "code": code,
            "message": self.0.what,
            "details": self.0.details,
            "hint": self.0.hint,
            "exit_code": self.0.kind.exit_code(),
        });
        if let Some(object) = error.as_object_mut() {
            object.extend(self.0.data.clone());
        }
        json!({ "error": error })
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match &error {
            ApiError::Problem(problem) => {
                let kind = if problem.status >= 500 { Kind::General } else { Kind::Refused };
                let mut failure = Self::new(kind, problem.detail.clone());
                failure.0.code = Some(problem.code.clone());
                failure.0.hint = problem.hint.clone().or_else(|| known_hint(&problem.code).map(str::to_owned));
                failure
            }
            ApiError::Unreachable { .. } | ApiError::NotBarge { .. } => Self::from_error(Kind::Unreachable, &error)
                .hint("`barge up` starts a server on this machine; --server names another one"),
            ApiError::Exec(_) | ApiError::Silent(_) => Self::from_error(Kind::Unreachable, &error),
            ApiError::Answer(..) | ApiError::Setup(_) => Self::from_error(Kind::General, &error),
        }
    }
}

/// What helps against a problem whose document names nothing.
fn known_hint(problem: &str) -> Option<&'static str> {
    match problem {
        code::UNAUTHENTICATED => Some("`barge up` logs you in to the server on this machine"),
        code::FORBIDDEN => Some("`barge whoami` says what your token may do"),
        code::NOT_FOUND => Some("`barge services` lists what there is"),
        code::CHANGED_MEANWHILE => Some("`barge status` shows how it stands now"),
        code::RELEASE_UNDER_WAY => {
            Some("`barge status` shows it; `barge abort` takes it back; `barge deploy --supersede` takes its place")
        }
        code::NOT_AT_GATE => Some("`barge status --watch` shows when its first instance runs"),
        code::RELEASE_ENDED => Some("`barge releases` shows how it ended"),
        _ => None,
    }
}
