//! Load on a service through a gateway, counted by phase: what the demo, the scenarios and the benches ask with.
//!
//! Every answer that is not the service's own 200 counts as failed, a refused connection and a slow answer as much as a 503. It leaves
//! out judging: callers say what the counts must be. Bounded: a fixed number of clients, each with one request under way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long one request may take before it counts as failed.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// The load could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("set up a client for the load")]
pub struct LoadError(#[source] reqwest::Error);

/// What is asked, and how hard.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// The host name that is asked for.
    pub host: String,
    /// The path.
    pub path: String,
    /// Clients that ask at the same time, each on a connection of its own.
    pub clients: usize,
    /// Between an answer and the next request of the same client.
    pub pause: Duration,
}

impl LoadPlan {
    /// Eight clients, each with up to 250 requests a second, on `/`.
    pub fn new(gateway: SocketAddr, host: impl Into<String>) -> Self {
        Self { gateway, host: host.into(), path: "/".to_owned(), clients: 8, pause: Duration::from_millis(4) }
    }
}

/// What was counted in one phase.
#[derive(Debug, Clone, Serialize)]
pub struct Counted {
    /// Its name.
    pub phase: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Requests that ended in it.
    pub requests: u64,
    /// Those of them that had no answer of the service's own.
    pub failed: u64,
    /// The slowest of them, in milliseconds.
    pub slowest_ms: f64,
    /// The first thing that went wrong, if something did.
    pub first_failure: Option<String>,
    /// For how long nobody here got to run at the most, in milliseconds: a machine that stands still fails requests as well.
    pub stood_still_ms: u64,
}

impl Counted {
    fn empty(phase: &str) -> Self {
        let phase = phase.to_owned();
        Self { phase, duration_ms: 0, requests: 0, failed: 0, slowest_ms: 0.0, first_failure: None, stood_still_ms: 0 }
    }
}

#[derive(Debug)]
struct Current {
    done: Vec<Counted>,
    phase: Counted,
    began: Instant,
}

impl Current {
    fn end_phase(&mut self, next: &str) {
        let ended =
            Counted { duration_ms: self.duration_ms(), ..std::mem::replace(&mut self.phase, Counted::empty(next)) };
        self.began = Instant::now();
        self.done.push(ended);
    }

    fn duration_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Clients that ask until they are stopped. Dropping it stops them too.
#[derive(Debug)]
pub struct Load {
    plan: LoadPlan,
    current: Arc<Mutex<Current>>,
    clients: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    /// Begins, with a first phase.
    ///
    /// # Errors
    /// The clients cannot be set up.
    pub fn start(plan: LoadPlan, phase: &str) -> Result<Self, LoadError> {
        let current = Current { done: Vec::new(), phase: Counted::empty(phase), began: Instant::now() };
        let mut load = Self {
            plan,
            current: Arc::new(Mutex::new(current)),
            clients: JoinSet::new(),
            stop: CancellationToken::new(),
        };
        for _ in 0..load.plan.clients {
            let client = client()?;
            load.clients.spawn(ask_again_and_again(
                client,
                load.plan.clone(),
                Arc::clone(&load.current),
                load.stop.clone(),
            ));
        }
        load.clients.spawn(look_at_the_clock(Arc::clone(&load.current), load.stop.clone()));
        Ok(load)
    }

    /// What ends from now on counts for another phase.
    pub fn phase(&self, name: &str) {
        lock(&self.current).end_phase(name);
    }

    /// What the current phase has counted so far.
    pub fn so_far(&self) -> Counted {
        let current = lock(&self.current);
        Counted { duration_ms: current.duration_ms(), ..current.phase.clone() }
    }

    /// Waits until the current phase has counted `requests`, at most `limit`; says whether it has.
    pub async fn until_counted(&self, requests: u64, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if lock(&self.current).phase.requests >= requests {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops, and gives what was counted.
    pub async fn stop(mut self) -> Vec<Counted> {
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
        let mut current = lock(&self.current);
        current.end_phase("");
        std::mem::take(&mut current.done)
    }
}

/// Asks `count` times, and gives the answers, each with how often it came.
///
/// # Errors
/// The client cannot be set up; an answer that failed is among the answers, in words.
pub async fn some_answers(plan: &LoadPlan, count: usize) -> Result<BTreeMap<String, usize>, LoadError> {
    let client = client()?;
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..count {
        let answer = ask(&client, plan).await.unwrap_or_else(|why| format!("failed: {why}"));
        *answers.entry(answer.trim_end().to_owned()).or_default() += 1;
    }
    Ok(answers)
}

async fn ask_again_and_again(
    client: reqwest::Client,
    plan: LoadPlan,
    current: Arc<Mutex<Current>>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let begin = Instant::now();
        let result = ask(&client, &plan).await;
        let result = result.map_err(|why| format!("{why}, after {:.1} s", begin.elapsed().as_secs_f64()));
        count(&current, begin.elapsed(), result);
        tokio::select! {
            () = tokio::time::sleep(plan.pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Notes how late it is itself.
async fn look_at_the_clock(current: Arc<Mutex<Current>>, stop: CancellationToken) {
    const INTERVAL: Duration = Duration::from_millis(20);
    while !stop.is_cancelled() {
        let begin = Instant::now();
        tokio::time::sleep(INTERVAL).await;
        let late = u64::try_from(begin.elapsed().saturating_sub(INTERVAL).as_millis()).unwrap_or(u64::MAX);
        let phase = &mut lock(&current).phase;
        phase.stood_still_ms = phase.stood_still_ms.max(late);
    }
}

async fn ask(client: &reqwest::Client, plan: &LoadPlan) -> Result<String, String> {
    let url = format!("http://{}{}", plan.gateway, plan.path);
    let sent = client.get(url).header(reqwest::header::HOST, &plan.host).send().await;
    let response = sent.map_err(|error| barge_runtime::chain(&error))?;
    let status = response.status();
    let body = response.text().await.map_err(|error| barge_runtime::chain(&error))?;
    if status == reqwest::StatusCode::OK { Ok(body) } else { Err(format!("{status}: {body}")) }
}

fn count(current: &Mutex<Current>, took: Duration, result: Result<String, String>) {
    let phase = &mut lock(current).phase;
    phase.requests += 1;
    phase.slowest_ms = phase.slowest_ms.max(took.as_secs_f64() * 1000.0);
    if let Err(why) = result {
        phase.failed += 1;
        phase.first_failure.get_or_insert(why);
    }
}

fn client() -> Result<reqwest::Client, LoadError> {
    barge_runtime::choose_cryptography();
    reqwest::Client::builder().timeout(REQUEST_LIMIT).no_proxy().build().map_err(LoadError)
}

fn lock(current: &Mutex<Current>) -> MutexGuard<'_, Current> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}
