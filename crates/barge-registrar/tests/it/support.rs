//! A target that does as a test says, and a registrar that can be restarted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use barge_model::registration::{Acknowledged, Acknowledgements, Answer, Call, Intent, Wanted, WantedList};
use barge_model::rollout::RegistrarHealth;
use barge_model::{EnvironmentName, InstanceId, ServiceKey, ServiceName, Timestamp};
use barge_registrar::{Held, Registrar, RegistrarConfig, RegistrationTarget, TargetError, channel};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn key() -> ServiceKey {
    service("shop")
}

pub(crate) fn service(name: &str) -> ServiceKey {
    ServiceKey::new(EnvironmentName::new("test").unwrap(), ServiceName::new(name).unwrap())
}

/// The instance with this number.
pub(crate) fn id(number: u128) -> InstanceId {
    InstanceId::from_parts(Timestamp::from_millis(1), number)
}

/// An instance that answers its readiness check.
pub(crate) fn ready(number: u128) -> Wanted {
    let address = SocketAddr::from(([127, 0, 0, 1], 1000 + u16::try_from(number).unwrap()));
    Wanted { id: id(number), address: Some(address), ready: true, ending: false, dead: false }
}

pub(crate) fn starting(number: u128) -> Wanted {
    Wanted { address: None, ready: false, ..ready(number) }
}

pub(crate) fn not_ready(number: u128) -> Wanted {
    Wanted { ready: false, ..ready(number) }
}

pub(crate) fn dead(number: u128) -> Wanted {
    Wanted { dead: true, ..not_ready(number) }
}

pub(crate) fn ending(number: u128) -> Wanted {
    Wanted { ending: true, ..not_ready(number) }
}

/// What a call comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is applied and answered.
    Works,
    /// It is refused.
    Fails,
    /// It is applied and the answer is lost.
    LosesAnswer,
    /// It never ends.
    Hangs,
    /// It panics.
    Breaks,
}

/// What a question for the list comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Works,
    Fails,
    Hangs,
}

pub(crate) struct State {
    pub(crate) put: Put,
    pub(crate) list: List,
    pub(crate) held: BTreeMap<(ServiceKey, InstanceId), Held>,
    /// Every call that came in.
    pub(crate) calls: Vec<(InstanceId, Call)>,
    /// What must never happen and did.
    pub(crate) violations: Vec<String>,
    journal: PathBuf,
}

/// A target that does as a test says.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn state(&self, number: u128) -> Option<Intent> {
        self.lock().held.get(&(key(), id(number))).map(|held| held.state)
    }

    /// The states that were sent for an instance, in order.
    pub(crate) fn calls(&self, number: u128) -> Vec<Intent> {
        self.lock().calls.iter().filter(|(of, _)| *of == id(number)).map(|(_, call)| call.state).collect()
    }
}

impl State {
    /// The journal must hold an intent before anybody is told of it (R3).
    fn check_stored(&mut self, id: &InstanceId, call: Call) {
        let text = std::fs::read_to_string(self.journal.join(format!("{id}.json"))).unwrap_or_default();
        let stored: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let registration = &stored["registration"];
        let state = serde_json::to_value(call.state).unwrap();
        // While the call was on its way the intent may have gone on.
        let known = registration["generation"].as_u64().is_some_and(|generation| generation > call.generation)
            || (registration["generation"] == call.generation && registration["intent"] == state);
        if !known {
            self.violations.push(format!("{id} {call:?} is not in the journal: {text}"));
        }
    }

    /// Generations only grow, and nothing follows upon the end (R2).
    fn check_order(&mut self, id: &InstanceId, call: Call) {
        for (_, before) in self.calls.iter().filter(|(of, _)| of == id) {
            let backwards = before.generation > call.generation;
            let after_the_end = before.state == Intent::Terminal && call.state != Intent::Terminal;
            if backwards || after_the_end {
                self.violations.push(format!("{id}: {call:?} after {before:?}"));
            }
        }
    }
}

#[async_trait]
impl RegistrationTarget for Fake {
    async fn put(&self, key: &ServiceKey, id: &InstanceId, address: SocketAddr, call: Call) -> Answer {
        let put = {
            let mut state = self.lock();
            state.check_stored(id, call);
            state.check_order(id, call);
            state.calls.push((id.clone(), call));
            if matches!(state.put, Put::Works | Put::LosesAnswer) {
                let held = Held { address, generation: call.generation, state: call.state };
                state.held.insert((key.clone(), id.clone()), held);
            }
            state.put
        };
        match put {
            Put::Works => Answer::Applied,
            Put::Fails | Put::LosesAnswer => Answer::Failed,
            Put::Hangs => std::future::pending().await,
            Put::Breaks => panic!("as the test wants it"),
        }
    }

    async fn list(&self, key: &ServiceKey) -> Result<BTreeMap<InstanceId, Held>, TargetError> {
        let (list, held) = {
            let state = self.lock();
            let of_key = state.held.iter().filter(|((of, _), _)| of == key);
            (state.list, of_key.map(|((_, id), held)| (id.clone(), *held)).collect())
        };
        match list {
            List::Works => Ok(held),
            List::Fails => Err(TargetError("as the test wants it".to_owned())),
            List::Hangs => std::future::pending().await,
        }
    }

    async fn in_flight(&self, _: &ServiceKey, _: &InstanceId) -> Result<u64, TargetError> {
        Ok(0)
    }
}

/// A registrar at work.
pub(crate) struct Bench<T: RegistrationTarget + Clone> {
    pub(crate) target: T,
    pub(crate) journal: TempDir,
    pub(crate) wanted: watch::Sender<WantedList>,
    pub(crate) acknowledgements: watch::Receiver<Acknowledgements>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    /// What the registrar takes for an end.
    silence: Option<Duration>,
}

impl Bench<Fake> {
    /// A registrar over a target that works.
    pub(crate) fn fake() -> Self {
        Self::fake_that_believes(None)
    }

    /// The same, where a silence of some time proves an end.
    pub(crate) fn fake_that_believes(silence: Option<Duration>) -> Self {
        let journal = TempDir::new().unwrap();
        let state = State {
            put: Put::Works,
            list: List::Works,
            held: BTreeMap::new(),
            calls: Vec::new(),
            violations: Vec::new(),
            journal: journal.path().to_owned(),
        };
        Self::start_with(Fake(Arc::new(Mutex::new(state))), journal, silence)
    }

    pub(crate) fn check(&self) {
        assert_eq!(self.target.lock().violations, Vec::<String>::new());
    }

    /// Waits until the target holds an instance as said.
    pub(crate) async fn wait_target(&self, number: u128, state: Intent) {
        self.eventually(&format!("{number} {state:?} at the target"), || self.target.state(number) == Some(state))
            .await;
    }
}

impl<T: RegistrationTarget + Clone> Bench<T> {
    /// A registrar over `target`.
    pub(crate) fn start(target: T, journal: TempDir) -> Self {
        Self::start_with(target, journal, None)
    }

    fn start_with(target: T, journal: TempDir, silence: Option<Duration>) -> Self {
        let wanted = watch::Sender::new(WantedList::new());
        let (task, acknowledgements, shutdown) = run(&target, journal.path(), &wanted, silence);
        Self { target, journal, wanted, acknowledgements, shutdown, task, silence }
    }

    /// Ends the registrar, as its process's end would, and starts another one from the journal.
    pub(crate) async fn restart(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        (self.task, self.acknowledgements, self.shutdown) =
            run(&self.target, self.journal.path(), &self.wanted, self.silence);
    }

    /// Says what exists of the service.
    pub(crate) fn want(&self, list: impl IntoIterator<Item = Wanted>) {
        let list = list.into_iter().collect();
        self.wanted.send_modify(|wanted| {
            wanted.insert(key(), list);
        });
    }

    pub(crate) fn acknowledged(&self, number: u128) -> Option<Acknowledged> {
        self.acknowledgements.borrow().instances.get(&id(number)).copied()
    }

    /// Waits until an instance is acknowledged as said.
    pub(crate) async fn wait(&mut self, number: u128, online: bool, terminal: bool) {
        let fits = |seen: &Acknowledged| (seen.online, seen.terminal) == (online, terminal);
        let what = format!("{number} online: {online}, terminal: {terminal}");
        self.wait_for(&what, |seen| seen.instances.get(&id(number)).is_some_and(fits)).await;
    }

    pub(crate) async fn wait_online(&mut self, number: u128) {
        self.wait(number, true, false).await;
    }

    pub(crate) async fn wait_healthy(&mut self) {
        self.wait_for("health", |seen| seen.health == RegistrarHealth::Healthy).await;
    }

    /// Waits until the registrar says what is wrong with it.
    pub(crate) async fn wait_unhealthy(&mut self, words: &str) {
        let fits = |seen: &Acknowledgements| matches!(&seen.health, RegistrarHealth::Unhealthy { reason } if reason.contains(words));
        self.wait_for(words, fits).await;
    }

    pub(crate) async fn wait_for(&mut self, what: &str, fits: impl Fn(&Acknowledgements) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, self.acknowledgements.wait_for(|seen| fits(seen))).await.is_ok();
        if !waited {
            panic!("waited in vain for: {what}; last: {:?}", self.acknowledgements.borrow());
        }
    }

    /// Waits for something that nobody tells.
    pub(crate) async fn eventually(&self, what: &str, fits: impl Fn() -> bool) {
        let looked = async {
            while !fits() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, looked).await.is_ok(), "waited in vain for: {what}");
    }

    /// Lets the registrar do what it would do: another service's instance goes all the way, which shows that this pass is over.
    pub(crate) async fn settle(&mut self, marker: u128) {
        self.wanted.send_modify(|wanted| {
            wanted.entry(service("marker")).or_default().push(ready(marker));
        });
        self.wait_online(marker).await;
    }

    /// Ends the registrar in an orderly way.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn run<T: RegistrationTarget + Clone>(
    target: &T,
    journal: &Path,
    wanted: &watch::Sender<WantedList>,
    silence: Option<Duration>,
) -> (JoinHandle<()>, watch::Receiver<Acknowledgements>, CancellationToken) {
    let config = RegistrarConfig {
        journal: journal.to_owned(),
        audit_interval: Duration::from_millis(20),
        call_limit: Duration::from_millis(100),
        refused_for: Duration::from_millis(600),
    };
    let (sender, acknowledgements) = channel();
    let shutdown = CancellationToken::new();
    let registrar = Registrar::open(target.clone(), config).unwrap();
    let registrar = match silence {
        Some(silence) => registrar.believe_silence(silence),
        None => registrar,
    };
    let task = tokio::spawn(registrar.run(wanted.subscribe(), sender, shutdown.clone()));
    (task, acknowledgements, shutdown)
}
