//! What objects are called, and the labels and annotations by which they are found again. Stored once, and never changed afterwards (I9).

use barge_model::rollout::Role;
use barge_model::{InstanceId, ReleaseId, ServiceKey, ServiceName};

/// The service that an object belongs to.
pub const SERVICE: &str = "barge.dev/service";
/// The environment that the service is in.
pub const ENVIRONMENT: &str = "barge.dev/environment";
/// The release that an object belongs to.
pub const RELEASE: &str = "barge.dev/release";
/// What a ReplicaSet is for: `stable` or `candidate`. Of no pod, which would have to change with it.
pub const ROLE: &str = "barge.dev/role";
/// The whole definition of a release, as JSON: on its ReplicaSet and in its ConfigMap, so that neither is missed alone.
pub const DEFINITION: &str = "barge.dev/definition";
/// The condition of a pod that the registrar sets once the traffic target has acknowledged it; a readiness gate of each pod (KEP-580).
pub const ONLINE: &str = "barge.dev/online";
/// On the pod of a component's replica that leads, where only that one can answer.
pub const LEADS: &str = "barge.dev/leads";
/// On a Deployment: the service that has taken its place.
pub const ADOPTED_BY: &str = "barge.dev/adopted-by";
/// On such a Deployment: how many instances it had before.
pub const REPLICAS_BEFORE: &str = "barge.dev/replicas-before";
/// The container with the business process.
pub const MAIN: &str = "main";

/// How much of a release's id stands in the names of its objects: fifty bits of chance.
const SHOWN: usize = 10;

/// What the objects of a release are called.
pub fn of_release(service: &ServiceName, release: &ReleaseId) -> String {
    let id = release.as_str().to_ascii_lowercase();
    format!("{service}-{}", &id[id.len().saturating_sub(SHOWN)..])
}

/// Finds all that belongs to a service.
pub fn selector(key: &ServiceKey) -> String {
    format!("{SERVICE}={},{ENVIRONMENT}={}", key.service, key.environment)
}

/// A role as its label says it.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Stable => "stable",
        Role::Candidate => "candidate",
        Role::Defunct => "defunct",
    }
}

/// The instance that a pod is: the 128 bits of its UID (RFC 9562) as a ULID; nothing where the text is no UUID.
pub fn instance(uid: &str) -> Option<InstanceId> {
    let digits: String = uid.chars().filter(|letter| *letter != '-').collect();
    if digits.len() != 32 || uid.len() != 36 {
        return None;
    }
    let number = u128::from_str_radix(&digits, 16).ok()?;
    ulid::Ulid::from(number).to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_uid_is_its_instances_id() {
        let id = instance("123e4567-e89b-12d3-a456-426614174000").unwrap();
        assert_eq!(ulid::Ulid::from_string(id.as_str()).unwrap().0, 0x123e_4567_e89b_12d3_a456_4266_1417_4000);
        assert!(instance("ffffffff-ffff-ffff-ffff-ffffffffffff").is_some());
        for nonsense in ["", "123", "123e4567-e89b-12d3-a456-42661417400g", "+23e4567e89b12d3a4564266141740000000"] {
            assert_eq!(instance(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn names_fit_where_kubernetes_puts_them() {
        let service: ServiceName = "a".repeat(40).parse().unwrap();
        let name = of_release(&service, &"01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap());
        assert_eq!(name, format!("{service}-rffq69g5fa").replace("rffq69g5fa", "ffq69g5fav"));
        // A pod's name gets six letters more, and is its host name.
        assert!(name.len() + 6 <= 63, "{name}");
    }
}
