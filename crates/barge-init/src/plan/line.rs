//! A plan from words, for an image's entrypoint and for the habits of others: `barge-init [OPTIONS] -- COMMAND [ARGUMENT]...`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Checks, Forward, Output, Plan, Probe, Process, Readiness, Stop};

/// What can be said.
pub(crate) const OPTIONS: &str = "  --probe KIND           none (default), http, http:/PATH, accept, auto or auto:/PATH
  --port NUMBER          the port that the probe asks
  --ready ADDRESS:PORT   answer GET /ready there
  --user USER[:GROUP]    run the command as somebody else
  --directory PATH       run it there
  --umask OCTAL          the permissions that its new files do not get
  --signal-process       forward signals to the command alone, not to its group
  --grace SECONDS        from SIGTERM to SIGKILL, 10 by default
  --start-deadline SECONDS
                         how long the start may take, 300 by default
  --hold SECONDS         how long a failed start is kept for a look, 86400 by default; with --probe none nothing is kept
";

/// Why words are no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Nothing is to be run.
    #[error("no command is given; it stands after --")]
    NoCommand,
    /// An option that does not exist.
    #[error("there is no option {0:?}")]
    Unknown(String),
    /// An option without its value.
    #[error("{0} wants a value")]
    NoValue(String),
    /// A value that does not fit.
    #[error("{option} cannot be {value:?}")]
    Value {
        /// The option.
        option: String,
        /// What was said.
        value: String,
    },
}

/// Understands the words after the program's name.
pub(crate) fn parse(words: &[String]) -> Result<Plan, LineError> {
    let mut plan = Plan {
        instance: std::env::var(crate::processes::INSTANCE_MARK).unwrap_or_else(|_| "container".to_owned()),
        main: Process { inherit_env: true, inherit_stdin: true, working_directory: ".".into(), ..Process::default() },
        helpers: BTreeMap::new(),
        templates: Vec::new(),
        host: "127.0.0.1".to_owned(),
        port: 0,
        probe: Probe::None,
        checks: Checks::default(),
        readiness: None,
        start_deadline_ms: 300_000,
        hold_limit_ms: 86_400_000,
        output: Output::default(),
        signals: Forward::Group,
        stop: Stop::default(),
        agent: None,
        termination_message: None,
        groups: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--" => {
                plan.main.command = words.cloned().collect();
                break;
            }
            "--signal-process" => plan.signals = Forward::Process,
            option if option.starts_with('-') => {
                let value = words.next().ok_or_else(|| LineError::NoValue(option.to_owned()))?;
                set(&mut plan, option, value)?;
            }
            first => {
                plan.main.command = std::iter::once(first.to_owned()).chain(words.cloned()).collect();
                break;
            }
        }
    }
    if plan.main.command.is_empty() {
        return Err(LineError::NoCommand);
    }
    for word in &mut plan.main.command {
        // Whoever starts us has put in his variables already.
        *word = word.replace('$', "$$");
    }
    if plan.probe == Probe::None {
        // Then nothing but a command that is not there fails to start.
        plan.hold_limit_ms = 0;
    }
    Ok(plan)
}

fn set(plan: &mut Plan, option: &str, value: &str) -> Result<(), LineError> {
    let wrong = || LineError::Value { option: option.to_owned(), value: value.to_owned() };
    let seconds = || value.parse::<u32>().map(|seconds| u64::from(seconds) * 1000).map_err(|_| wrong());
    match option {
        "--probe" => plan.probe = probe(value).ok_or_else(wrong)?,
        "--port" => plan.port = value.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?,
        "--ready" => {
            let listen: SocketAddr = value.parse().map_err(|_| wrong())?;
            plan.readiness = Some(Readiness { listen, path: super::ready_path() });
        }
        "--user" => plan.main.user = Some(value.to_owned()),
        "--directory" => plan.main.working_directory = value.into(),
        "--umask" => plan.main.umask = Some(value.to_owned()),
        "--grace" => plan.stop.grace_ms = seconds()?,
        "--start-deadline" => plan.start_deadline_ms = seconds()?,
        "--hold" => plan.hold_limit_ms = seconds()?,
        _ => return Err(LineError::Unknown(option.to_owned())),
    }
    Ok(())
}

fn probe(value: &str) -> Option<Probe> {
    let (kind, path) = match value.split_once(':') {
        Some((kind, path)) if path.starts_with('/') => (kind, Some(path.to_owned())),
        Some(_) => return None,
        None => (value, None),
    };
    match (kind, path) {
        ("none", None) => Some(Probe::None),
        ("accept", None) => Some(Probe::Accept),
        ("http", path) => Some(Probe::Http { path }),
        ("auto", path) => Some(Probe::Auto { path }),
        _ => None,
    }
}
