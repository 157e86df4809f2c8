//! A replica of a component that runs in a cluster: who it is there, its lease, and what probes are told.
//!
//! It leaves out what the component does while it leads.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use barge_crds::names;
use barge_lease::{Fence, Holder, Tenure, lead};
use barge_runtime::{Tasks, chain};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Kind};

/// What a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// A connection to the API server takes no longer.
const CONNECT: Duration = Duration::from_secs(5);
/// Before another try.
const AGAIN: Duration = Duration::from_secs(2);
/// Where a pod is told its name.
const POD: &str = "POD_NAME";

/// How to reach a cluster, in words of kubectl.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config, else what a pod is given]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<std::path::PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

impl ClusterArgs {
    /// How to reach the cluster; nothing has been asked of it yet.
    pub(crate) async fn config(&self) -> Result<Config, Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match &self.kubeconfig {
            Some(path) => Self::of_file(path, &options).await?,
            None if self.context.is_some() => {
                Config::from_kubeconfig(&options).await.map_err(|error| no_cluster(&error))?
            }
            None => Config::infer().await.map_err(|error| no_cluster(&error))?,
        };
        config.connect_timeout = Some(CONNECT);
        Ok(config)
    }

    async fn of_file(path: &Path, options: &KubeConfigOptions) -> Result<Config, Failure> {
        let file = Kubeconfig::read_from(path).map_err(|error| no_cluster(&error))?;
        Config::from_custom_kubeconfig(file, options).await.map_err(|error| no_cluster(&error))
    }
}

fn no_cluster(error: &(dyn std::error::Error + 'static)) -> Failure {
    // These errors say their causes themselves.
    Failure::new(Kind::Usage, format!("no cluster is configured: {error}"))
        .hint("kubectl config get-contexts, then --kubeconfig FILE or --context NAME")
}

/// Where a replica is, and what it is called.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReplicaArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Where probes ask
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7374")]
    pub(crate) listen: SocketAddr,
    /// What this replica is called in its Lease [default: this machine's name and the process]
    #[arg(long, value_name = "NAME", env = POD)]
    pub(crate) identity: Option<String>,
    /// The namespace of the Leases
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "barge-system")]
    pub(crate) home: String,
}

/// One of the replicas of a component.
pub(crate) struct Replica {
    /// What it is called.
    pub(crate) identity: String,
    /// The namespace of the Leases.
    pub(crate) home: String,
    /// The API server, for whatever anybody may do.
    pub(crate) client: kube::Client,
    config: Config,
    listener: TcpListener,
    ready: Arc<AtomicBool>,
    /// The pod that it is in, if it is in one.
    pod: Option<String>,
}

impl Replica {
    /// Reaches for the cluster and for the port of the probes.
    pub(crate) async fn new(args: ReplicaArgs) -> Result<Self, Failure> {
        let config = args.cluster.config().await?;
        let client = kube::Client::try_from(config.clone()).map_err(|error| no_cluster(&error))?;
        let listener = TcpListener::bind(args.listen).await;
        let listener = listener.map_err(|error| Failure::io(format!("listen at {}", args.listen), &error))?;
        let identity = args.identity.unwrap_or_else(own_name);
        let ready = Arc::new(AtomicBool::new(true));
        let pod = std::env::var(POD).ok().filter(|pod| !pod.is_empty());
        Ok(Self { identity, home: args.home, client, config, listener, ready, pod })
    }

    /// Nobody asks the one that leads, so that its pod need not be told apart from the others.
    #[must_use]
    pub(crate) fn unmarked(self) -> Self {
        Self { pod: None, ..self }
    }

    /// Works whenever it leads, until it is asked to stop. The work is given its tenure, a client that writes only while that goes on, and where it says
    /// that it has begun to work.
    pub(crate) async fn run<W>(
        self,
        lease: &str,
        health: watch::Receiver<String>,
        work: impl Fn(Tenure, kube::Client, watch::Sender<bool>) -> W,
    ) -> Result<(), Failure>
    where
        W: Future<Output = ()>,
    {
        let mut tasks = Tasks::default();
        let shutdown =
            barge_runtime::cancelled_by_signal(&mut tasks).map_err(|error| Failure::io("watch for signals", &error))?;
        let (ready, listener) = (Arc::clone(&self.ready), self.listener);
        let probes = axum::serve(listener, probes(Arc::clone(&ready)))
            .with_graceful_shutdown(shutdown.clone().cancelled_owned());
        tasks.spawn("probes", async move {
            // Serving ends with the shutdown alone.
            let _ = probes.await;
        });
        let (leads, led) = watch::channel(false);
        if let Some(pod) = self.pod {
            tasks.spawn("mark of the leader", mark(self.client.clone(), self.home.clone(), pod, led, shutdown.clone()));
        }
        let holder = Holder {
            client: self.client,
            namespace: self.home,
            name: lease.to_owned(),
            identity: self.identity,
            health,
        };
        let config = self.config;
        lead(&holder, &shutdown, |tenure| {
            let builder = ClientBuilder::try_from(config.clone());
            let fenced = builder.map(|builder| builder.with_layer(&Fence::new(tenure.clone())).build());
            let (begun, begins) = watch::channel(false);
            let work = fenced.map(|client| work(tenure, client, begun));
            let leading = Leading::begin(leads.clone(), Arc::clone(&ready));
            async move {
                match work {
                    Ok(work) => tokio::select! { () = work => {}, () = leading.follow(begins) => {} },
                    Err(error) => tracing::error!(error = chain(&error), "no client can be made"),
                }
            }
        })
        .await;
        tasks.stop(STOP_LIMIT).await;
        Ok(())
    }
}

/// For as long as this replica leads.
struct Leading {
    leads: watch::Sender<bool>,
    ready: Arc<AtomicBool>,
}

impl Leading {
    fn begin(leads: watch::Sender<bool>, ready: Arc<AtomicBool>) -> Self {
        ready.store(false, Ordering::SeqCst);
        Self { leads, ready }
    }

    /// A leader is ready, and can be asked, once it has begun to work.
    async fn follow(self, mut begins: watch::Receiver<bool>) {
        if begins.wait_for(|begun| *begun).await.is_ok() {
            self.ready.store(true, Ordering::SeqCst);
            self.leads.send_replace(true);
        }
        std::future::pending::<()>().await;
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.leads.send_replace(false);
        // One that waits has nothing to get ready for.
        self.ready.store(true, Ordering::SeqCst);
    }
}

/// Says on the pod whether it leads, so that a Service finds the one that can answer.
async fn mark(
    client: kube::Client,
    namespace: String,
    pod: String,
    mut leads: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    loop {
        let value = if *leads.borrow_and_update() { Some("true") } else { None };
        let patch = Patch::Merge(serde_json::json!({ "metadata": { "labels": { names::LEADS: value } } }));
        let parameters = PatchParams::default();
        let marked = tokio::time::timeout(CONNECT, pods.patch(&pod, &parameters, &patch)).await;
        let pause = match marked {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), pod, "the pod could not be told apart from the others");
                Some(AGAIN)
            }
            Err(_) => Some(AGAIN),
        };
        tokio::select! {
            changed = leads.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause.unwrap_or(AGAIN)), if pause.is_some() => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Of this machine and this process.
fn own_name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", machine.trim(), std::process::id())
}

fn probes(ready: Arc<AtomicBool>) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route(
        "/readyz",
        get(move || {
            let ready = ready.load(Ordering::SeqCst);
            async move {
                match ready {
                    true => (StatusCode::OK, "ok\n"),
                    false => (StatusCode::SERVICE_UNAVAILABLE, "it leads, and does not know the cluster yet\n"),
                }
            }
        }),
    )
}
