//! How the holder of a Lease is, for others who depend on it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch::Sender;

use crate::HEALTH;
use crate::clock::Moment;
use crate::election::{INTERVAL, Seen, see};
use crate::lead::record;

/// One look takes no longer.
const LIMIT: Duration = Duration::from_secs(3);

/// How the holder of a Lease is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Well,
    /// It does not, or nobody does.
    Ill(String),
}

/// Looks at a Lease until it is dropped, and tells of what has changed. A look that fails changes nothing before the Lease would have expired.
pub async fn watch(client: Client, namespace: &str, name: &str, told: &Sender<Health>) {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let mut seen: Option<Seen> = None;
    let mut heard = Moment::now();
    loop {
        match tokio::time::timeout(LIMIT, api.get_opt(name)).await {
            Ok(Ok(lease)) => {
                heard = Moment::now();
                seen = see(seen, lease.as_ref().map(record), heard);
                let says = lease.and_then(|lease| lease.metadata.annotations?.remove(HEALTH)).unwrap_or_default();
                tell(told, health(name, seen.as_ref(), &says, heard));
            }
            Ok(Err(_)) | Err(_) => {
                let silent = Moment::now().since(heard);
                if seen.as_ref().is_none_or(|seen| silent >= seen.record.duration) {
                    tell(told, Health::Ill(format!("nobody can tell who holds the Lease {name}")));
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// How the holder is: a pure function of what was seen and of the time.
fn health(name: &str, seen: Option<&Seen>, says: &str, now: Moment) -> Health {
    match seen {
        None => Health::Ill(format!("nobody holds the Lease {name} yet")),
        Some(seen) if seen.record.holder.is_empty() => Health::Ill(format!("nobody holds the Lease {name}")),
        Some(seen) if now.since(seen.since) >= seen.record.duration => {
            Health::Ill(format!("{}, which holds the Lease {name}, does not renew it", seen.record.holder))
        }
        Some(_) if !says.is_empty() => Health::Ill(says.to_owned()),
        Some(_) => Health::Well,
    }
}

fn tell(told: &Sender<Health>, health: Health) {
    told.send_if_modified(|before| {
        let changed = *before != health;
        *before = health;
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::Record;

    #[test]
    fn a_holder_is_well_while_it_renews_and_says_so() {
        let at = |seconds| Moment::at(Duration::from_secs(seconds));
        let record = |holder: &str| Record {
            version: "1".to_owned(),
            holder: holder.to_owned(),
            epoch: 1,
            duration: Duration::from_secs(15),
        };
        let seen = |holder| Seen { record: record(holder), since: at(100) };
        let well =
            |seen: Option<Seen>, says, now| health("barge-registrar", seen.as_ref(), says, at(now)) == Health::Well;
        assert!(well(Some(seen("a")), "", 114));
        assert!(!well(Some(seen("a")), "", 115), "not renewed");
        assert!(!well(Some(seen("a")), "the gateway does not answer", 101));
        assert!(!well(Some(seen("")), "", 101), "given back");
        assert!(!well(None, "", 101));
    }
}
