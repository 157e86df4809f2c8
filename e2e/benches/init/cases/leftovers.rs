//! What is left to PID 1: zombies, daemons, children of a process that has ended.

use std::time::Duration;

use super::Verdict;
use crate::container::{Container, eventually, within};
use crate::stage::Stage;
use crate::systems::{System, Wanted};

/// How many zombies come at once.
pub(crate) const ORPHANS: &str = "10000";
/// How long the business process gives PID 1 for them, and a little more.
const ORPHANS_LIMIT: Duration = Duration::from_secs(60);
/// How long an end may take that is bound to come.
const SOON: Duration = Duration::from_secs(5);

pub(crate) fn orphans(stage: &Stage<'_>) -> Verdict {
    let container = stage.run(&["orphans", ORPHANS, "TOLD"]);
    let told = within(ORPHANS_LIMIT, || stage.told().first().copied());
    let all = told.is_some_and(|nanoseconds| nanoseconds >= 0) && container.zombies() == 0;
    Verdict::of(all, || format!("{} zombies are left after 30 s", container.zombies()))
}

pub(crate) fn daemon(stage: &Stage<'_>) -> Verdict {
    let mut container = stage.run_until_told(&["daemon", "TOLD", "200"]);
    // Main alone is left then; a zombie would still be a child of PID 1.
    let others = |container: &Container| container.processes().len() - stage.own_processes(container).len() - 1;
    let alone = within(SOON, || (others(&container) == 0 && container.zombies() == 0).then_some(()));
    Verdict::of(alone.is_some() && container.code().is_none(), || "it stays".to_owned())
}

pub(crate) fn left_behind(stage: &Stage<'_>) -> Verdict {
    let told = stage.path("told").display().to_string();
    let business = stage.business(&[])[0].clone();
    // One in a session of its own, one beside the process that does not listen to SIGTERM, and the process that ends.
    let script = format!(
        "{business} daemon {told} 600000 & {business} stubborn {told} & \
         until [ $(wc -l <{told} || echo 0) -ge 2 ]; do :; done; exec {business} exit {told} 100 3"
    );
    let command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    let mut container = stage.start(&Wanted { command, ..Wanted::default() });
    eventually("all three", || (stage.told().len() >= 3).then_some(()));
    if container.end(SOON).is_none() {
        return Verdict::No("the container goes on".to_owned());
    }
    let gone = within(SOON, || container.processes().is_empty().then_some(()));
    Verdict::of(gone.is_some(), || format!("{} stay", container.processes().len())).with(
        stage.system,
        &[
            (System::S6, "finish script"),
            (System::Runsv, "finish script"),
            (System::Runsvdir, "finish script"),
            (System::Supervisord, "event listener"),
        ],
    )
}
