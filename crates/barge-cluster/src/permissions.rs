//! What each part may do on the cluster, and what it needs that for. The roles are made from this table, so that nothing is allowed without a reason.

use crate::settings::Component;
use Component::{Operator, Registrar};
use Reach::{Own, Services};

/// Where something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Wherever services may be.
    Services,
    /// In the namespace of the parts alone.
    Own,
}

/// What one part may do with one kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// Who may.
    pub component: Component,
    /// Where.
    pub reach: Reach,
    /// The group of the objects; empty for Kubernetes' own.
    pub group: &'static str,
    /// Their kind, in the plural.
    pub resource: &'static str,
    /// Only the one that is called so.
    pub name: Option<&'static str>,
    /// What, each with what it is needed for.
    pub verbs: &'static [(&'static str, &'static str)],
}

const fn of(
    (component, reach): (Component, Reach),
    (group, resource): (&'static str, &'static str),
    verbs: &'static [(&'static str, &'static str)],
) -> Permission {
    Permission { component, reach, group, resource, name: None, verbs }
}

const fn of_one(
    component: Component,
    name: &'static str,
    verbs: &'static [(&'static str, &'static str)],
) -> Permission {
    Permission { name: Some(name), ..of((component, Own), (LEASES.0, LEASES.1), verbs) }
}

const LEASES: (&str, &str) = ("coordination.k8s.io", "leases");
const SERVICES: &[(&str, &str)] = &[("list", "know what is wanted"), ("watch", "hear of what is wanted next")];
const STATUSES: &[(&str, &str)] = &[("update", "store what was decided, before it is done")];
const LEASE_MADE: &[(&str, &str)] = &[("create", "be the first leader")];
const LEASE_KEPT: &[(&str, &str)] = &[("get", "see who leads"), ("update", "take the lead, and keep it")];

/// Everything that is allowed.
pub const PERMISSIONS: &[Permission] = &[
    of((Operator, Services), ("barge.dev", "webservices"), SERVICES),
    of((Operator, Services), ("barge.dev", "rpcservices"), SERVICES),
    of((Operator, Services), ("barge.dev", "webservices/status"), STATUSES),
    of((Operator, Services), ("barge.dev", "rpcservices/status"), STATUSES),
    of(
        (Operator, Services),
        ("", "pods"),
        &[
            ("list", "know which instances there are"),
            ("watch", "hear how instances are"),
            ("patch", "give the instances of a set on its way out to their service"),
            ("delete", "end an instance"),
        ],
    ),
    of(
        (Operator, Services),
        ("apps", "replicasets"),
        &[
            ("list", "know which releases have instances"),
            ("watch", "hear of sets that change"),
            ("create", "start a release"),
            ("patch", "say how many instances of a release there are"),
            ("delete", "take a release's set away from its instances"),
        ],
    ),
    of(
        (Operator, Services),
        ("apps", "deployments"),
        &[
            ("get", "see how many instances a Deployment has left that gives its place to a service"),
            ("patch", "take instances from such a Deployment, and give them back"),
        ],
    ),
    of(
        (Operator, Services),
        ("", "configmaps"),
        &[
            ("list", "know which releases are written down"),
            ("watch", "hear of releases that somebody takes away"),
            ("create", "write a release down"),
            ("delete", "forget a release of which nothing is left"),
        ],
    ),
    of(
        (Operator, Services),
        ("events.k8s.io", "events"),
        &[("create", "tell people what happens"), ("patch", "count what happens again and again")],
    ),
    of((Operator, Own), LEASES, LEASE_MADE),
    of_one(Operator, Operator.name(), LEASE_KEPT),
    of_one(Operator, Registrar.name(), &[("get", "freeze releases while nobody registers instances")]),
    of(
        (Registrar, Services),
        ("", "pods"),
        &[("list", "know which instances there are"), ("watch", "hear which are ready, and which are ending")],
    ),
    of((Registrar, Services), ("", "pods/status"), &[("patch", "say that an instance is online")]),
    of((Registrar, Own), ("", "pods"), &[("patch", "mark the replica that leads, for pods that ask")]),
    of((Registrar, Own), LEASES, LEASE_MADE),
    of_one(Registrar, Registrar.name(), LEASE_KEPT),
];

/// What a part may do somewhere.
pub fn permissions(component: Component, reach: Reach) -> impl Iterator<Item = &'static Permission> {
    PERMISSIONS.iter().filter(move |permission| permission.component == component && permission.reach == reach)
}
