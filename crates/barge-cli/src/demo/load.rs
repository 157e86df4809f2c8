//! Load through the gateway, counted by phase. Every answer that is not the service's own 200 counts as failed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Kind};

/// Clients that ask at the same time.
const CLIENTS: usize = 8;
/// Between an answer and the next request of the same client.
const PAUSE: Duration = Duration::from_millis(4);
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long "a while" is.
const WHILE: Duration = Duration::from_millis(1500);

/// What was counted in one phase.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Counted {
    pub(super) phase: String,
    pub(super) duration_ms: u64,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) slowest_ms: f64,
    /// The first thing that went wrong, if something did.
    pub(super) first_failure: Option<String>,
}

struct Current {
    done: Vec<Counted>,
    phase: Counted,
    began: Instant,
}

impl Current {
    fn end_phase(&mut self, next: &str) {
        let mut ended = std::mem::replace(&mut self.phase, empty(next));
        ended.duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.began = Instant::now();
        self.done.push(ended);
    }
}

fn empty(phase: &str) -> Counted {
    Counted {
        phase: phase.to_owned(),
        duration_ms: 0,
        requests: 0,
        failed: 0,
        slowest_ms: 0.0,
        first_failure: None,
    }
}

/// Clients that ask without an end.
pub(super) struct Load {
    url: String,
    host: String,
    current: Arc<Mutex<Current>>,
    clients: JoinSet<()>,
    stop: CancellationToken,
}

impl Load {
    /// Load on the service that `host` names; nothing is sent yet.
    pub(super) fn new(gateway: SocketAddr, host: &str) -> Self {
        let current = Current { done: Vec::new(), phase: empty(""), began: Instant::now() };
        Self {
            url: format!("http://{gateway}/"),
            host: host.to_owned(),
            current: Arc::new(Mutex::new(current)),
            clients: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Begins with a first phase.
    pub(super) async fn start(&mut self, phase: &str) -> Result<(), Failure> {
        {
            let mut current = lock(&self.current);
            current.phase = empty(phase);
            current.began = Instant::now();
        }
        for _ in 0..CLIENTS {
            let client = client()?;
            let (url, host, current, stop) =
                (self.url.clone(), self.host.clone(), Arc::clone(&self.current), self.stop.clone());
            self.clients.spawn(async move {
                while !stop.is_cancelled() {
                    let begin = Instant::now();
                    let result = ask(&client, &url, &host).await;
                    count(&current, begin.elapsed(), result);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Ok(())
    }

    /// What comes from now on counts for another phase.
    pub(super) fn phase(&self, name: &str) {
        lock(&self.current).end_phase(name);
    }

    /// Lets the load go on for a moment.
    pub(super) async fn serve_for_a_while(&self) {
        tokio::time::sleep(WHILE).await;
    }

    /// A few answers, each with how often it came.
    pub(super) async fn some_answers(&self, count: usize) -> Result<BTreeMap<String, usize>, Failure> {
        // An own connection: the gateway takes turns over the instances whoever asks.
        let client = client()?;
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..count {
            let answer = ask(&client, &self.url, &self.host).await;
            let answer = answer.unwrap_or_else(|error| format!("failed: {error}"));
            *answers.entry(answer.trim_end().to_owned()).or_default() += 1;
        }
        Ok(answers)
    }

    /// Stops, and gives what was counted.
    pub(super) async fn stop(mut self) -> Vec<Counted> {
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
        let mut current = lock(&self.current);
        current.end_phase("");
        std::mem::take(&mut current.done)
    }
}

fn lock(current: &Mutex<Current>) -> std::sync::MutexGuard<'_, Current> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

fn client() -> Result<reqwest::Client, Failure> {
    let built = reqwest::Client::builder().timeout(REQUEST_LIMIT).no_proxy().build();
    built.map_err(|error| Failure::from_error(Kind::General, &error))
}

async fn ask(client: &reqwest::Client, url: &str, host: &str) -> Result<String, String> {
    let sent = client.get(url).header(reqwest::header::HOST, host).send().await;
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
