//! Whether a plan can be carried out, and in which order its processes start.

use std::collections::BTreeSet;

use super::{Kind, MAIN, Plan, Process};
use crate::agent::AgentError;

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A process has no program.
    #[error("the command of {name:?} is empty")]
    NoCommand {
        /// The process.
        name: String,
    },
    /// A helper is called what only main is, or what can be no part of a file's name.
    #[error("a helper cannot be called {name:?}: 1 to 64 characters without '/' and '.', and not \"main\"")]
    Name {
        /// Its name.
        name: String,
    },
    /// Main would be over once it is done.
    #[error("main cannot be a task: it has to go on")]
    MainTask,
    /// A process waits for one that is not there.
    #[error("{name:?} starts after {after:?}, which is not in the plan")]
    Unknown {
        /// The process.
        name: String,
        /// Whom it waits for.
        after: String,
    },
    /// Processes wait for each other.
    #[error("these wait for each other, so that none can start: {}", names.join(", "))]
    Circle {
        /// They, and who waits for them.
        names: Vec<String>,
    },
    /// The part about the registry makes no sense.
    #[error("register the instance")]
    Agent(#[source] AgentError),
    /// A umask is no octal number.
    #[error("the umask {umask:?} of {name:?} is not an octal number up to 777")]
    Umask {
        /// The process.
        name: String,
        /// What stands there.
        umask: String,
    },
    /// A word that no program can be given.
    #[error("the command or environment of {name:?} has a zero byte, or a variable whose name is empty or has a '='")]
    Word {
        /// The process.
        name: String,
    },
}

impl Plan {
    /// Checks that it can be carried out.
    ///
    /// # Errors
    /// A process without a program, or one whose turn would never come.
    pub fn check(&self) -> Result<(), PlanError> {
        for (name, process) in processes(self) {
            check_process(name, process)?;
            if let Some(after) = process.after.iter().find(|after| !is_there(self, after)) {
                return Err(PlanError::Unknown { name: name.to_owned(), after: after.clone() });
            }
        }
        // A helper's name is a part of file names.
        let bad =
            |name: &&String| *name == MAIN || name.is_empty() || name.len() > 64 || name.contains(['/', '\0', '.']);
        if let Some(name) = self.helpers.keys().find(bad) {
            return Err(PlanError::Name { name: name.clone() });
        }
        if self.main.kind == Kind::Task {
            return Err(PlanError::MainTask);
        }
        if let Some(agent) = &self.agent {
            agent.check().map_err(PlanError::Agent)?;
        }
        let circle = never_started(self);
        if circle.is_empty() { Ok(()) } else { Err(PlanError::Circle { names: circle }) }
    }
}

/// Every process with its name, main last.
fn processes(plan: &Plan) -> impl Iterator<Item = (&str, &Process)> {
    let helpers = plan.helpers.iter().map(|(name, helper)| (name.as_str(), helper));
    helpers.chain(std::iter::once((MAIN, &plan.main)))
}

fn is_there(plan: &Plan, name: &str) -> bool {
    name == MAIN || plan.helpers.contains_key(name)
}

fn check_process(name: &str, process: &Process) -> Result<(), PlanError> {
    if process.command.first().is_none_or(String::is_empty) {
        return Err(PlanError::NoCommand { name: name.to_owned() });
    }
    let sound = |(variable, value): (&String, &String)| {
        !variable.is_empty() && !variable.contains(['=', '\0']) && !value.contains('\0')
    };
    if !process.env.iter().all(sound) || process.command.iter().any(|word| word.contains('\0')) {
        return Err(PlanError::Word { name: name.to_owned() });
    }
    match &process.umask {
        Some(umask) if umask_of(umask).is_none() => {
            Err(PlanError::Umask { name: name.to_owned(), umask: umask.clone() })
        }
        _ => Ok(()),
    }
}

/// A umask as people write it.
pub(crate) fn umask_of(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|umask| *umask <= 0o777 && !text.starts_with('+'))
}

/// Those whose turn never comes.
fn never_started(plan: &Plan) -> Vec<String> {
    let mut started: BTreeSet<&str> = BTreeSet::new();
    loop {
        let next: Vec<&str> = processes(plan)
            .filter(|(name, process)| {
                !started.contains(name) && process.after.iter().all(|after| started.contains(after.as_str()))
            })
            .map(|(name, _)| name)
            .collect();
        if next.is_empty() {
            let left = processes(plan).map(|(name, _)| name).filter(|name| !started.contains(name));
            return left.map(str::to_owned).collect();
        }
        started.extend(next);
    }
}
