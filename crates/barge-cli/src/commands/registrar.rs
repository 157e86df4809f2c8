//! `barge registrar`: pods of a Kubernetes cluster become instances that the gateway knows; what `barge cluster install` starts in the cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use barge_registrar::kubernetes::PodRegistrar;
use barge_registrar::{GatewayAddress, RegistrarConfig, RemoteGateway};
use barge_runtime::{Stopped, Tasks};
use tokio::net::TcpListener;

use super::gateway::read_token;
use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::replica::ClusterArgs;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Pods that are ready go online at the gateway, and become Ready once it has acknowledged that; pods that end are taken out of traffic before their \
process is told to stop. They ask here whether that is done.

Examples:
  barge cluster install    runs it in the cluster, which is the usual way
  barge registrar --gateway gateway.example:7403 --token-file token --journal journal

A gateway has one registrar. Ctrl-C stops it; what serves goes on.";

/// How long a stop may take after the registrar itself has ended.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Run the registrar of a Kubernetes cluster
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Where the gateway takes registrations, with the token in --token-file
    #[arg(long, value_name = "HOST:PORT")]
    gateway: GatewayAddress,
    /// Where it is stored what the gateway is to know; may be lost
    #[arg(long, value_name = "DIRECTORY")]
    journal: PathBuf,
    /// Look after this namespace alone
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Where pods ask whether they are out of traffic, and probes ask
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7375")]
    listen: SocketAddr,
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
    let client = kube::Client::try_from(args.cluster.config().await?);
    let client = client.map_err(|error| Failure::from_error(Kind::General, &error))?;
    let registrar = PodRegistrar::open(client, args.namespace.clone(), gateway, config(args.journal));
    let registrar = registrar.map_err(|error| Failure::from_error(Kind::General, &error))?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|error| Failure::io(format!("listen at {}", args.listen), &error))?;
    let listens = listener.local_addr().map_err(|error| Failure::io("look at the listener", &error))?;
    let mut tasks = Tasks::default();
    let shutdown = barge_runtime::cancelled_by_signal(&mut tasks);
    let shutdown = shutdown.map_err(|error| Failure::io("watch for signals", &error))?;
    let mut health = registrar.health();
    tasks.spawn("words about its health", async move {
        while health.changed().await.is_ok() {
            tracing::info!(health = ?*health.borrow_and_update(), "the registrar");
        }
    });
    let document = serde_json::json!({ "listens": listens.to_string(), "gateway": args.gateway.to_string() });
    terminal.announce(&document, |_| {
        let namespace = args.namespace.as_deref().unwrap_or("all");
        format!("The registrar is up\n  pods ask    {listens}\n  gateway     {}\n  namespaces  {namespace}\n", args.gateway)
    })?;
    let stopped = registrar.run(listener, shutdown).await;
    tasks.stop(STOP_LIMIT).await;
    match stopped {
        Stopped::Asked => Ok(()),
        Stopped::Broke(what) => Err(Failure::new(Kind::General, format!("the registrar broke: {what}"))
            .hint("what serves goes on; start it again, and it takes over what it finds. Its log is above")),
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
