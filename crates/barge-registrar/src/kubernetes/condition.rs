//! What the pods' condition `barge.dev/online` has to say, a readiness gate of each (KEP-580). Pure.
//!
//! It is True once the traffic target has acknowledged the instance, and False once it has acknowledged that it gets no traffic. In between nobody knows:
//! a registrar that has just begun, or one whose target is down, takes nobody's True away.

use barge_crds::names;
use barge_model::registration::{Acknowledged, Acknowledgements, Wanted};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::pods;

/// What a condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Says {
    /// Whether the instance gets traffic.
    pub online: bool,
    /// Why, in one word for programs.
    pub reason: &'static str,
    /// Why, for people.
    pub message: &'static str,
}

const ONLINE: Says = Says { online: true, reason: "Acknowledged", message: "the gateway sends requests here" };
const OFFLINE: Says = Says {
    online: false,
    reason: "Offline",
    message: "taken out of traffic: its process has ended, or is not ready; the gateway has acknowledged it",
};
const ENDED: Says =
    Says { online: false, reason: "Ending", message: "taken out of traffic for good: the gateway has acknowledged it" };
const NOT_READY: Says =
    Says { online: false, reason: "NotReady", message: "not in traffic: its containers are not ready yet" };
const NO_PORT: Says = Says {
    online: false,
    reason: "NoAddress",
    message: "not in traffic: it has no address, or none of its containers has a port named service",
};
const UNACKNOWLEDGED: Says = Says {
    online: false,
    reason: "NotAcknowledged",
    message: "ready, but not in traffic: the gateway has not acknowledged it yet",
};

/// A condition that has to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod that is meant, and no other of that name.
    pub uid: String,
    /// What it has to say.
    pub says: Says,
    /// Since when it says True or False, as the pod has it; nothing where that changes now.
    pub since: Option<Time>,
}

impl Change {
    /// Whether something depends on it; else it only tells people what an instance waits for.
    pub fn is_urgent(&self) -> bool {
        [ONLINE, OFFLINE, ENDED].contains(&self.says)
    }

    /// The patch of the pod's status (strategic merge), at the time `now`.
    pub fn patch(&self, now: &Time) -> Value {
        let status = if self.says.online { "True" } else { "False" };
        json!({
            "metadata": { "uid": self.uid },
            "status": { "conditions": [{
                "type": names::ONLINE,
                "status": status,
                "reason": self.says.reason,
                "message": self.says.message,
                "lastTransitionTime": self.since.as_ref().unwrap_or(now),
            }] },
        })
    }
}

/// What has to be written to a pod; nothing where it says so already, and where nobody knows.
pub fn change(pod: &Pod, acknowledgements: &Acknowledgements) -> Option<Change> {
    let (_, wanted) = pods::instance(pod)?;
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == names::ONLINE);
    let is_online = found.map(|found| found.status == "True");
    let says = says(&wanted, acknowledgements.instances.get(&wanted.id).copied(), is_online)?;
    let same_status = is_online == Some(says.online);
    if same_status && found.is_some_and(|found| found.reason.as_deref() == Some(says.reason)) {
        return None;
    }
    let since = found.filter(|_| same_status).and_then(|found| found.last_transition_time.clone());
    Some(Change { namespace: pod.namespace()?, pod: pod.name_any(), uid: pod.uid()?, says, since })
}

/// What the condition of an instance has to say, where it says True or False now, or nothing at all.
pub fn says(wanted: &Wanted, acknowledged: Option<Acknowledged>, is_online: Option<bool>) -> Option<Says> {
    match acknowledged {
        Some(known) if known.online => Some(ONLINE),
        Some(known) if known.terminal => Some(ENDED),
        Some(known) if known.offline => Some(OFFLINE),
        // Not known, or not yet.
        _ if is_online == Some(true) || wanted.ending => None,
        _ if !wanted.ready => Some(NOT_READY),
        _ if wanted.address.is_none() => Some(NO_PORT),
        _ => Some(UNACKNOWLEDGED),
    }
}
