//! `barge registrar`: pods of a Kubernetes cluster become instances that the gateway knows; what `barge cluster install` starts in the cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use barge_lease::Tenure;
use barge_model::rollout::RegistrarHealth;
use barge_registrar::kubernetes::PodRegistrar;
use barge_registrar::{GatewayAddress, RegistrarConfig, RemoteGateway};
use barge_runtime::Stopped;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::gateway::read_token;
use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::replica::{Replica, ReplicaArgs};
use crate::terminal::Terminal;

/// The name of the registrar's Lease.
pub(crate) const LEASE: &str = "barge-registrar";

const EXAMPLES: &str = "\
Pods that are ready go online at the gateway, and become Ready once it has acknowledged that; pods that end are taken out of traffic before their \
process is told to stop. They ask here whether that is done.

Examples:
  barge cluster install    runs it in the cluster, which is the usual way
  barge registrar --gateway gateway.example:7403 --token-file token --journal journal

Several replicas may run; the one that holds the Lease `barge-registrar` works, for one gateway. Ctrl-C stops it; what serves goes on.";

/// Run the registrar of a Kubernetes cluster
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    replica: ReplicaArgs,
    /// Where the gateway takes registrations, with the token in --token-file
    #[arg(long, value_name = "HOST:PORT")]
    gateway: GatewayAddress,
    /// Where it is stored what the gateway is to know; may be lost
    #[arg(long, value_name = "DIRECTORY")]
    journal: PathBuf,
    /// Look after this namespace alone
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Where pods ask whether they are out of traffic; open while this replica leads
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7375")]
    pods: SocketAddr,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let Some(token) = &globals.token_file else {
        return Err(Failure::new(Kind::Usage, "the gateway takes registrations with a token alone")
            .hint("name the file that it was started with: --token-file FILE"));
    };
    let gateway = RemoteGateway::new(args.gateway.clone(), read_token(token)?);
    let gateway = gateway.map_err(|error| Failure::from_error(Kind::General, &error))?;
    let replica = Replica::new(args.replica).await?;
    let document = serde_json::json!({ "pods": args.pods.to_string(), "gateway": args.gateway.to_string() });
    terminal.announce(&document, |_| {
        let namespace = args.namespace.as_deref().unwrap_or("all");
        format!(
            "The registrar is up: replica {}, Lease {}/{LEASE}\n  pods ask    {}\n  gateway     {}\n  namespaces  {namespace}\n",
            replica.identity, replica.home, args.pods, args.gateway
        )
    })?;
    let (health, says) = watch::channel(String::new());
    let work = |tenure: Tenure, client, ready| {
        // What this replica knew when it led before is out of date: another one may have led since.
        let journal = args.journal.join(tenure.epoch().to_string());
        let (gateway, namespace) = (gateway.clone(), args.namespace.clone());
        let (health, pods) = (health.clone(), args.pods);
        async move {
            if let Err(error) = work(client, namespace, gateway, journal, pods, (&health, ready)).await {
                tracing::error!(error = &error as &dyn std::error::Error, "the registrar does not work");
                health.send_replace(barge_runtime::chain(&error));
            }
        }
    };
    replica.run(LEASE, says, work).await
}

/// Why a leader does not work.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error("open the registrar's journal")]
    Journal(#[source] barge_registrar::JournalError),
    #[error("listen for pods at {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the registrar broke: {0}")]
    Broke(String),
}

/// Registers while this replica leads.
async fn work(
    client: kube::Client,
    namespace: Option<String>,
    gateway: RemoteGateway,
    journal: PathBuf,
    pods: SocketAddr,
    (health, ready): (&watch::Sender<String>, watch::Sender<bool>),
) -> Result<(), WorkError> {
    let registrar = PodRegistrar::open(client, namespace, gateway, config(journal)).map_err(WorkError::Journal)?;
    let listener = TcpListener::bind(pods).await;
    let listener = listener.map_err(|source| WorkError::Listen { address: pods, source })?;
    let told = tell(registrar.health(), health, ready);
    // Whatever drops this ends the registrar.
    tokio::select! {
        stopped = registrar.run(listener, CancellationToken::new()) => match stopped {
            Stopped::Asked => Ok(()),
            Stopped::Broke(what) => Err(WorkError::Broke(what)),
        },
        () = told => Ok(()),
    }
}

/// Tells the operator, by way of the Lease, how the registrar is. It has begun to work once it is well for the first time.
async fn tell(mut says: watch::Receiver<RegistrarHealth>, health: &watch::Sender<String>, ready: watch::Sender<bool>) {
    loop {
        let reason = match &*says.borrow_and_update() {
            RegistrarHealth::Healthy => String::new(),
            RegistrarHealth::Unhealthy { reason } => reason.clone(),
        };
        if reason.is_empty() {
            ready.send_replace(true);
        }
        health.send_replace(reason);
        if says.changed().await.is_err() {
            // The registrar ends, and says why.
            std::future::pending::<()>().await;
        }
    }
}

fn config(journal: PathBuf) -> RegistrarConfig {
    RegistrarConfig {
        journal,
        audit_interval: Duration::from_secs(10),
        call_limit: Duration::from_secs(5),
        refused_for: Duration::from_secs(30),
    }
}
