//! `barge instances`: the running copies, and how others find the one that somebody names.

use barge_api::{InstanceList, InstanceView, ServiceStatus};
use barge_model::rollout::InstancePhase;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::page;
use crate::session::Target;
use crate::terminal::{Terminal, now};

const EXAMPLES: &str = "\
An instance is ONLINE when the gateway sends it requests. A HELD one could not start and is kept for a look.

Examples:
  barge instances
  barge instances --json   readiness checks and the life of each, too";

/// List the instances of a service
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) async fn run(_args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let status = target.status().await?;
    let releases = if terminal.json() { Vec::new() } else { target.releases_of(&status).await? };
    let list = InstanceList { instances: status.instances };
    terminal.data(&list, |paint| match list.instances.as_slice() {
        [] => format!("{target} has no instances"),
        instances => page::instances(instances, &releases, now()).render(paint, ""),
    })
}

/// The instance that `name` means: an id, or its last characters.
pub(crate) fn find<'a>(status: &'a ServiceStatus, name: &str, target: &Target) -> Result<&'a InstanceView, Failure> {
    let wanted = name.to_ascii_uppercase();
    let mut found = status.instances.iter().filter(|view| view.id.as_str().ends_with(&wanted));
    let refused =
        |what: String| Failure::new(Kind::Refused, what).hint(format!("`{}` lists them", target.command("instances")));
    match (found.next(), found.next()) {
        _ if wanted.is_empty() => Err(refused("the instance's name is empty".to_owned())),
        (Some(view), None) => Ok(view),
        (None, _) => Err(refused(format!("{target} has no instance {name}"))),
        (Some(_), Some(_)) => Err(refused(format!("{target} has several instances whose id ends with {name}"))),
    }
}

/// The instance to look into when none is named: the held one while there is one, else one that is ready, the newest first.
pub(crate) fn most_interesting(status: &ServiceStatus) -> Option<&InstanceView> {
    let rank = |view: &&InstanceView| match view.phase {
        InstancePhase::Held => 4,
        InstancePhase::Ready if view.online => 3,
        InstancePhase::Ready => 2,
        InstancePhase::Starting => 1,
        InstancePhase::BackOff | InstancePhase::Draining => 0,
    };
    status.instances.iter().max_by_key(|view| (rank(view), view.created_at, view.id.clone()))
}

#[cfg(test)]
mod tests {
    use barge_model::rollout::Role;

    use super::*;
    use crate::report::tests::{instance, status};

    #[test]
    fn the_held_instance_is_the_one_to_look_into() {
        let old = instance("AAAAAA", 1, Role::Stable, InstancePhase::Ready);
        let held = instance("BBBBBB", 2, Role::Defunct, InstancePhase::Held);
        let starting = instance("CCCCCC", 2, Role::Candidate, InstancePhase::Starting);
        let pick = |instances| most_interesting(&status(instances)).map(|view| view.id.short().to_owned());
        assert_eq!(pick(vec![old.clone(), held, starting.clone()]).as_deref(), Some("BBBBBB"));
        assert_eq!(pick(vec![old, starting.clone()]).as_deref(), Some("AAAAAA"));
        assert_eq!(pick(vec![starting]).as_deref(), Some("CCCCCC"));
        assert_eq!(pick(Vec::new()), None);
    }
}
