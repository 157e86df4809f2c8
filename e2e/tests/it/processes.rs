//! Which process is whose: for whoever kills one of them, and for whoever judges whether the right ones are there.

use std::path::{Path, PathBuf};

use barge_testkit::instance_processes;

/// A process of an instance, or its barge-init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) service: String,
    pub(crate) instance: String,
    /// It is the barge-init, and not what that has started.
    pub(crate) init: bool,
}

/// What runs of the platform whose files are in `data`, oldest first.
pub(crate) fn running(data: &Path) -> Vec<Running> {
    instance_processes(data).into_iter().filter_map(look_at).collect()
}

/// Nothing where the process is gone since it was listed.
fn look_at(pid: u32) -> Option<Running> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = command.split(|byte| *byte == 0);
    let init = words.next() == Some(b"barge-init".as_slice());
    let place = match init {
        // barge-init run DIRECTORY
        true => PathBuf::from(String::from_utf8_lossy(words.nth(1)?).into_owned()),
        false => std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?,
    };
    // services/ENVIRONMENT/SERVICE/instances/ID
    let parts: Vec<String> = place.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let at = parts.iter().rposition(|part| part == "instances")?;
    let (service, instance) = (parts.get(at.checked_sub(1)?)?.clone(), parts.get(at + 1)?.clone());
    Some(Running { pid, service, instance, init })
}
