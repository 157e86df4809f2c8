//! What must be true of a service at rest, judged from outside: by its status, by the processes that are there, by its gateway.
//!
//! Each judge answers with what is wrong, so that whoever waits for a good answer can say what he has waited for in vain.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::processes::Running;

/// Nothing, or what is wrong.
pub(crate) type Judged = Result<(), String>;

/// How many instances there should be of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Instances that serve, of the stable release.
    pub(crate) stable: usize,
    /// Instances that serve, of a release that waits at its gate.
    pub(crate) candidate: usize,
    /// Failed starts that are kept.
    pub(crate) held: usize,
}

/// The instances that a status lists.
pub(crate) fn instances(status: &Value) -> &[Value] {
    status["instances"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether it answers, and is asked.
pub(crate) fn serves(instance: &Value) -> bool {
    instance["phase"] == "ready" && instance["online"] == true
}

/// How many instances there are of a release that is on its way (I1).
pub(crate) fn of_candidate(status: &Value) -> usize {
    let candidate = &status["candidate"]["release"];
    let counts = |one: &&Value| !candidate.is_null() && one["release"] == *candidate && one["phase"] != "draining";
    instances(status).iter().filter(counts).count()
}

/// Whether there are exactly so many instances, and all of them where they should be.
pub(crate) fn counts(status: &Value, wanted: Counts) -> Judged {
    let of_role = |role: &str| instances(status).iter().filter(|one| one["role"] == role && serves(one)).count();
    let held = instances(status).iter().filter(|one| one["phase"] == "held").count();
    let found = Counts { stable: of_role("stable"), candidate: of_role("candidate"), held };
    let (all, expected) = (instances(status).len(), wanted.stable + wanted.candidate + wanted.held);
    if found == wanted && all == expected {
        return Ok(());
    }
    Err(format!("{all} instances, of which {found:?}, instead of {wanted:?}"))
}

/// Whether each instance of a status runs once, under its barge-init, and nothing else does. `running` is what runs of that service.
pub(crate) fn each_runs_once(status: &Value, running: &[Running]) -> Judged {
    let id = |one: &Value| one["id"].as_str().unwrap_or_default().to_owned();
    for one in instances(status) {
        let of_it = |init: bool| running.iter().filter(|it| it.instance == id(one) && it.init == init).count();
        let right = match one["phase"] == "held" {
            // Its barge-init keeps the scene for as long as nobody kills it.
            true => of_it(false) == 0 && of_it(true) <= 1,
            false => of_it(false) == 1 && of_it(true) == 1,
        };
        if !right {
            return Err(format!("instance {} has {} processes and {} barge-inits", id(one), of_it(false), of_it(true)));
        }
    }
    let listed: BTreeSet<String> = instances(status).iter().map(id).collect();
    match running.iter().find(|it| !listed.contains(&it.instance)) {
        Some(stranger) => Err(format!("{stranger:?} belongs to no instance")),
        None => Ok(()),
    }
}

/// Whether the gateway asks exactly the instances that the status says it asks.
pub(crate) fn asked_as_listed(status: &Value, online: &BTreeSet<String>) -> Judged {
    let serving = instances(status).iter().filter(|one| serves(one));
    let listed: BTreeSet<String> = serving.filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect();
    if listed == *online { Ok(()) } else { Err(format!("the gateway asks {online:?}, the status lists {listed:?}")) }
}
