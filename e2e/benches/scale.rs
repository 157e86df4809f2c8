//! The server at a size: 500 services of 10 instances each behind the Engine port, on a real database, called over HTTP by the real
//! `barge` and by the client that it uses. What is behind the port is the fake engine: it decides by the real rollout machine, and has
//! no processes. Then so many releases that whatever grows with each of them shows: in memory, in the database, and in the time that
//! one takes. The process that is measured is this one: the server, the fake engine, and the client.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use barge_api::{Client, NewRelease};
use barge_model::manifest::{Drain, EnvValue, Kind, Resources, ServiceConfig};
use barge_model::rollout::{Gate, RolloutPlan};
use barge_model::{Digest, EnvironmentName, Millis, ServiceName};
use barge_server::{Environment, Retention, Server, ServerConfig};
use barge_testkit::{FakeEngine, barge_binary};
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SERVICES: usize = 500;
const REPLICAS: u32 = 10;
/// How often each is measured.
const ROUNDS: usize = 21;
/// How many releases there are in the end, unless this variable says otherwise.
const RELEASES: usize = 10_000;
const RELEASES_VARIABLE: &str = "BARGE_BENCH_RELEASES";
/// They go to so many of the services, in turns.
const RELEASED: usize = 10;
/// How many looks are taken while they are made.
const LOOKS: usize = 10;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const ENVIRONMENT: &str = "scale";

fn main() {
    barge_runtime::choose_cryptography();
    let releases =
        std::env::var(RELEASES_VARIABLE).map_or(RELEASES, |count| count.parse().expect("a number of releases"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    let engine = FakeEngine::new();
    let served = runtime.block_on(Served::start(directory.path(), &engine, None));
    runtime.block_on(fill(&served.client));

    println!(
        "| {SERVICES} services, {} fake instances | median | slowest of {ROUNDS} | goal |",
        SERVICES * REPLICAS as usize
    );
    println!("| --- | --- | --- | --- |");
    measure_questions(&runtime, &served, "");
    row(
        "every instance changed: until all is decided and a watcher knows",
        runtime.block_on(observations(&served, &engine)),
        "200 ms",
    );
    let history = runtime.block_on(make_releases(&served, releases));
    measure_questions(&runtime, &served, &format!(" after {releases} releases"));
    let token = runtime.block_on(served.stop());
    row(
        "nothing changed: until the engine is told of all and has decided all",
        runtime.block_on(rounds(directory.path(), &engine)),
        "200 ms",
    );
    // Over the same database, with the same token: what is stored is whole.
    let served = runtime.block_on(Served::start(directory.path(), &engine, Some(token)));
    assert_eq!(runtime.block_on(served.client.services()).unwrap().services.len(), SERVICES);
    runtime.block_on(served.stop());

    println!("\n| releases | resident memory (Rss) | database | one release takes | kept of one service |");
    println!("| --- | --- | --- | --- | --- |");
    history.iter().for_each(Look::print);
}

/// A server that answers.
struct Served {
    client: Client,
    token: String,
    directory: PathBuf,
    shutdown: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Served {
    async fn start(directory: &Path, engine: &Arc<FakeEngine>, token: Option<String>) -> Self {
        let shutdown = CancellationToken::new();
        let server = open(directory, engine, &shutdown).await;
        let token = match token {
            Some(token) => token,
            None => server.admin_token("bench").await.unwrap().secret,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), &token).unwrap();
        let (router, stop) = (server.router(), shutdown.clone());
        let answering = async move {
            axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
        };
        let tasks = [tokio::spawn(answering), tokio::spawn(server.run())];
        Self { client, token, directory: directory.to_owned(), shutdown, tasks }
    }

    /// Stops it; the result is its token.
    async fn stop(self) -> String {
        self.shutdown.cancel();
        // Connections that are kept open would be waited for.
        drop(self.client);
        for task in self.tasks {
            in_time(task).await.unwrap();
        }
        self.token
    }

    /// How long a command of the real binary takes, from its start to its end.
    fn command(&self, words: &[&str]) -> Duration {
        let mut command = Command::new(barge_binary());
        command
            .args(words)
            .current_dir(&self.directory)
            .env("BARGE_SERVER", self.client.address())
            .env("BARGE_TOKEN", &self.token)
            .env("BARGE_CONFIG", self.directory.join("config"))
            .env_remove("BARGE_ENVIRONMENT")
            .stdin(Stdio::null());
        let begin = Instant::now();
        let output = command.output().unwrap();
        let took = begin.elapsed();
        assert!(output.status.success(), "barge {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        took
    }
}

async fn open(directory: &Path, engine: &Arc<FakeEngine>, shutdown: &CancellationToken) -> Server {
    let environment = Environment {
        name: environment(),
        engine: engine.clone(),
        engine_name: "fake".to_owned(),
        registry: "127.0.0.1:7401".to_owned(),
        gateway: Some("127.0.0.1:7402".to_owned()),
        domain: "localhost".to_owned(),
        gate: barge_api::GatePolicy::default(),
        bases: barge_api::Bases::default(),
    };
    let database = directory.join("server.sqlite");
    let config = ServerConfig { database, environments: vec![environment], retention: Retention::default() };
    Server::open(config, shutdown.clone()).await.unwrap()
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap_or_else(|_| panic!("it takes longer than {PATIENCE:?}"))
}

fn environment() -> EnvironmentName {
    EnvironmentName::new(ENVIRONMENT).unwrap()
}

fn service(number: usize) -> ServiceName {
    ServiceName::new(format!("service-{number}")).unwrap()
}

/// A release that needs no approval. Each has another image.
fn release(service: &ServiceName, serial: usize) -> NewRelease {
    let text = |value: &str| EnvValue::Text(value.to_owned());
    let env = [("LOG_LEVEL", "info"), ("DATABASE_URL", "postgres://database.example/orders"), ("REGION", "west")];
    let gate = Gate { until: None, hold: None };
    NewRelease {
        image: format!("127.0.0.1:7401/{service}"),
        digest: Digest::new(format!("sha256:{serial:064x}")).unwrap(),
        config: ServiceConfig {
            kind: Kind::Web,
            command: vec!["./service".to_owned(), "--port".to_owned(), "$PORT".to_owned()],
            healthcheck: Some("/healthcheck".to_owned()),
            templates: Vec::new(),
            replicas: Some(REPLICAS),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect::<BTreeMap<_, _>>(),
            resources: Resources::default(),
            rollout: RolloutPlan { gate, ..RolloutPlan::default() },
            drain: Drain::default(),
            start_deadline: Millis::from_secs(60),
        },
        reason: Some("to be measured".to_owned()),
        supersede: false,
    }
}

/// Makes a release, as `barge deploy` does; the fake engine has carried it out when the answer is there.
async fn make(client: &Client, number: usize, serial: usize) {
    let name = service(number);
    let new = release(&name, serial);
    in_time(client.new_release(&environment(), &name, &new, &format!("release-{serial}"))).await.unwrap();
}

async fn fill(client: &Client) {
    for number in 0..SERVICES {
        make(client, number, number).await;
    }
    let services = in_time(client.services()).await.unwrap().services;
    let whole = services.iter().filter(|service| service.available == REPLICAS && service.candidate.is_none());
    assert_eq!(whole.count(), SERVICES, "all instances are available");
}

/// What people ask most, by the command, and its questions alone. The service that is asked for is one with a history.
fn measure_questions(runtime: &tokio::runtime::Runtime, served: &Served, when: &str) {
    let name = service(0);
    let times = |measure: &dyn Fn() -> Duration| (0..ROUNDS).map(|_| measure()).collect::<Vec<_>>();
    row(&format!("`barge services`{when}"), times(&|| served.command(&["services"])), "100 ms");
    let services = || {
        let begin = Instant::now();
        runtime.block_on(in_time(served.client.services())).unwrap();
        begin.elapsed()
    };
    row(&format!("its question to the server{when}"), times(&services), "");
    row(&format!("`barge status`{when}"), times(&|| served.command(&["status", "-m", name.as_str()])), "100 ms");
    let status = || {
        let begin = Instant::now();
        runtime.block_on(in_time(async {
            let (environment, client) = (environment(), &served.client);
            client.environments().await.unwrap();
            let status = client.status(&environment, &name).await.unwrap();
            client.release(&environment, &name, &status.stable.unwrap()).await.unwrap();
        }));
        begin.elapsed()
    };
    row(&format!("its three questions to the server{when}"), times(&status), "");
}

/// Every instance of every service was started again: how long until all of it is decided, and the status of one service is told to
/// somebody who watches it.
async fn observations(served: &Served, engine: &Arc<FakeEngine>) -> Vec<Duration> {
    let mut statuses = in_time(served.client.watch_status(&environment(), &service(SERVICES - 1))).await.unwrap();
    let mut seen = in_time(statuses.next()).await.unwrap().unwrap();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        assert_eq!(engine.restart_all(), SERVICES);
        let next = in_time(statuses.next()).await.unwrap().unwrap();
        times.push(begin.elapsed());
        assert_eq!(next.instances[0].restarts, seen.instances[0].restarts + 1);
        seen = next;
    }
    times
}

/// A server that begins reads what is wanted of every service and tells the engine, which decides: how long until the last one.
async fn rounds(directory: &Path, engine: &Arc<FakeEngine>) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let shutdown = CancellationToken::new();
        let server = open(directory, engine, &shutdown).await;
        let mut taken = engine.taken();
        let all = *taken.borrow_and_update() + SERVICES as u64;
        let begin = Instant::now();
        let run = tokio::spawn(server.run());
        in_time(taken.wait_for(|count| *count >= all)).await.unwrap();
        times.push(begin.elapsed());
        shutdown.cancel();
        in_time(run).await.unwrap();
    }
    times
}

/// What there is after so many releases.
struct Look {
    releases: usize,
    resident: u64,
    database: u64,
    /// How long one took since the look before.
    each: Option<Duration>,
    kept: usize,
}

impl Look {
    async fn take(served: &Served, releases: usize, each: Option<Duration>) -> Self {
        let kept = in_time(served.client.releases(&environment(), &service(0))).await.unwrap().releases.len();
        let size = |name: &str| std::fs::metadata(served.directory.join(name)).map_or(0, |file| file.len());
        let database = size("server.sqlite") + size("server.sqlite-wal");
        Self { releases, resident: resident(), database, each, kept }
    }

    fn print(&self) {
        let each = self.each.map(|each| format!("{:.1} ms", each.as_secs_f64() * 1e3)).unwrap_or_default();
        let (resident, database) = (mebibytes(self.resident), mebibytes(self.database));
        println!("| {} | {resident} | {database} | {each} | {} |", self.releases, self.kept);
    }
}

/// Makes `count` releases, of a few services in turns, and looks now and then.
async fn make_releases(served: &Served, count: usize) -> Vec<Look> {
    let mut looks = vec![Look::take(served, 0, None).await];
    let step = (count / LOOKS).max(1);
    let mut begin = Instant::now();
    for done in 1..=count {
        make(&served.client, done % RELEASED, SERVICES + done).await;
        if done % step == 0 {
            let each = begin.elapsed() / u32::try_from(step).unwrap();
            looks.push(Look::take(served, done, Some(each)).await);
            begin = Instant::now();
        }
    }
    looks
}

/// The resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn row(what: &str, mut times: Vec<Duration>, goal: &str) {
    times.sort();
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!("| {what} | {} | {} | {goal} |", ms(times[times.len() / 2]), ms(times[times.len() - 1]));
}
