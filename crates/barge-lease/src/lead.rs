//! Carries out the election, and the leader's work while it leads.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::HEALTH;
use crate::clock::Moment;
use crate::election::{DURATION, Decision, INTERVAL, RENEW_WITHIN, Record, Seen, decide, see};
use crate::tenure::Tenure;

/// One request about the Lease takes no longer.
const LIMIT: Duration = Duration::from_secs(3);

/// Why the Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server refused, or could not be reached.
    #[error("{doing} the Lease {namespace}/{name}")]
    Request {
        /// What was being done.
        doing: &'static str,
        /// Where it is.
        namespace: String,
        /// What it is called.
        name: String,
        /// What went wrong.
        source: Box<kube::Error>,
    },
    /// It did not answer in time.
    #[error("{doing} the Lease {namespace}/{name}: no answer in time")]
    Late {
        /// What was being done.
        doing: &'static str,
        /// Where it is.
        namespace: String,
        /// What it is called.
        name: String,
    },
}

/// Somebody who wants to lead.
#[derive(Clone)]
pub struct Holder {
    /// The API server.
    pub client: Client,
    /// Where the Lease is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
    /// What this replica is called, such as its pod.
    pub identity: String,
    /// How the leader is, for [`HEALTH`]; empty where all is well.
    pub health: tokio::sync::watch::Receiver<String>,
}

/// Works whenever this replica leads, until `shutdown`. The work is dropped when the lead is lost, and begun anew in a later epoch. At the end the
/// Lease is given back, so that nobody has to wait for it.
pub async fn lead<W>(holder: &Holder, shutdown: &CancellationToken, mut work: impl FnMut(Tenure) -> W)
where
    W: Future<Output = ()>,
{
    let mut election = Election { holder, seen: None, acquired: Timestamp::default() };
    loop {
        let Some(tenure) = shutdown.run_until_cancelled(election.win()).await else { return };
        tracing::info!(lease = %holder.name, epoch = tenure.epoch(), identity = %holder.identity, "this replica leads now");
        tokio::select! {
            () = work(tenure.clone()) => {
                // Work that ends by itself has failed, and would fail again at once.
                tracing::warn!(lease = %holder.name, epoch = tenure.epoch(), "the leader's work has ended");
                tenure.end();
                let _ = shutdown.run_until_cancelled(tokio::time::sleep(jittered(INTERVAL))).await;
            }
            () = election.keep(&tenure) => {
                tracing::warn!(lease = %holder.name, epoch = tenure.epoch(), "the lead is lost; what was begun is left to others");
            }
            () = shutdown.cancelled() => {
                tenure.end();
                election.give_back(&tenure).await;
                return;
            }
        }
        tenure.end();
    }
}

struct Election<'a> {
    holder: &'a Holder,
    seen: Option<Seen>,
    /// For people who read the Lease.
    acquired: Timestamp,
}

/// What a round has shown.
enum Standing {
    /// This replica leads in this epoch, from before the round on.
    Leads(u64),
    /// Somebody else does, or may.
    Others,
    /// Somebody has written in between.
    Unknown,
}

impl Election<'_> {
    /// Ends once this replica leads.
    async fn win(&mut self) -> Tenure {
        loop {
            let asked = Moment::now();
            match self.round(None).await {
                Ok(Standing::Leads(epoch)) => return Tenure::new(epoch, asked.plus(RENEW_WITHIN)),
                Ok(Standing::Others | Standing::Unknown) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "no news of who leads"),
            }
            tokio::time::sleep(jittered(INTERVAL)).await;
        }
    }

    /// Renews until the lead is lost.
    async fn keep(&mut self, tenure: &Tenure) {
        let mut health = self.holder.health.clone();
        loop {
            // What the holder says of itself is told at once.
            let _ = tokio::time::timeout(INTERVAL, health.changed()).await;
            let asked = Moment::now();
            if !tenure.holds(asked) {
                return;
            }
            match self.round(Some(tenure.epoch())).await {
                Ok(Standing::Leads(epoch)) if epoch == tenure.epoch() => tenure.extend(asked.plus(RENEW_WITHIN)),
                Ok(Standing::Unknown) => {}
                Ok(Standing::Leads(_) | Standing::Others) => return,
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the lead could not be renewed"),
            }
        }
    }

    /// Reads, decides, writes.
    async fn round(&mut self, leads: Option<u64>) -> Result<Standing, LeaseError> {
        let record = self.read().await?;
        self.seen = see(self.seen.take(), record, Moment::now());
        let now = Moment::now();
        let (version, epoch) = match decide(&self.holder.identity, leads, self.seen.as_ref(), now) {
            // A leader whose Lease somebody else has taken leads no more, whatever he still could take.
            Decision::Wait => return Ok(Standing::Others),
            Decision::Create | Decision::Take { .. } if leads.is_some() => return Ok(Standing::Others),
            Decision::Create => (None, 1),
            Decision::Take { version, epoch } | Decision::Renew { version, epoch } => (Some(version), epoch),
        };
        if leads.is_none() {
            self.acquired = Timestamp::now();
        }
        // Where somebody was faster, the next look tells whether he has taken it.
        Ok(if self.write(version, epoch).await? { Standing::Leads(epoch) } else { Standing::Unknown })
    }

    async fn give_back(&mut self, tenure: &Tenure) {
        let Ok(Some(record)) = self.read().await else { return };
        if record.holder == self.holder.identity && record.epoch == tenure.epoch() {
            let lease = self.lease(Some(record.version), record.epoch, String::new());
            if let Err(error) = self.replace(lease).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "others have to wait until the lease expires");
            }
        }
    }

    async fn read(&self) -> Result<Option<Record>, LeaseError> {
        let lease = self.bounded("read", self.api().get_opt(&self.holder.name)).await?;
        Ok(lease.map(|lease| record(&lease)))
    }

    /// False where somebody was faster.
    async fn write(&self, version: Option<String>, epoch: u64) -> Result<bool, LeaseError> {
        let lease = self.lease(version, epoch, self.holder.identity.clone());
        match &lease.metadata.resource_version {
            None => self.create(lease).await,
            Some(_) => self.replace(lease).await,
        }
    }

    async fn create(&self, lease: Lease) -> Result<bool, LeaseError> {
        let (api, parameters) = (self.api(), PostParams::default());
        let made = api.create(&parameters, &lease);
        self.unless_faster("make", made).await
    }

    async fn replace(&self, lease: Lease) -> Result<bool, LeaseError> {
        let (api, parameters) = (self.api(), PostParams::default());
        let replaced = api.replace(&self.holder.name, &parameters, &lease);
        self.unless_faster("write", replaced).await
    }

    async fn unless_faster(
        &self,
        doing: &'static str,
        request: impl Future<Output = kube::Result<Lease>>,
    ) -> Result<bool, LeaseError> {
        let faster = |error: &kube::Error| match error {
            kube::Error::Api(status) => status.is_conflict() || status.is_already_exists() || status.is_not_found(),
            _ => false,
        };
        let request = async {
            match request.await {
                Ok(_) => Ok(true),
                Err(error) if faster(&error) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.bounded(doing, request).await
    }

    async fn bounded<T>(
        &self,
        doing: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, LeaseError> {
        let (namespace, name) = (self.holder.namespace.clone(), self.holder.name.clone());
        match tokio::time::timeout(LIMIT, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(LeaseError::Request { doing, namespace, name, source: Box::new(source) }),
            Err(_) => Err(LeaseError::Late { doing, namespace, name }),
        }
    }

    fn lease(&self, version: Option<String>, epoch: u64, holder: String) -> Lease {
        let health = self.holder.health.borrow().clone();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.holder.name.clone()),
                namespace: Some(self.holder.namespace.clone()),
                resource_version: version,
                annotations: Some(BTreeMap::from([(HEALTH.to_owned(), health)])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                lease_transitions: i32::try_from(epoch).ok(),
                renew_time: Some(MicroTime(Timestamp::now())),
                acquire_time: Some(MicroTime(self.acquired)),
                ..LeaseSpec::default()
            }),
        }
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.holder.client.clone(), &self.holder.namespace)
    }
}

/// What decides, of a Lease that anybody may have written.
pub(crate) fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let number = |number: Option<i32>| number.and_then(|number| u64::try_from(number).ok());
    let seconds = number(spec.and_then(|spec| spec.lease_duration_seconds));
    Record {
        version: lease.resource_version().unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        epoch: number(spec.and_then(|spec| spec.lease_transitions)).unwrap_or(0),
        // Nobody waits for ever because of what somebody has written there.
        duration: seconds.map_or(DURATION, |seconds| Duration::from_secs(seconds).min(DURATION * 4)),
    }
}

/// Replicas that were started together do not ask together for ever.
fn jittered(span: Duration) -> Duration {
    span.mul_f64(rand::random_range(0.8..1.2))
}
