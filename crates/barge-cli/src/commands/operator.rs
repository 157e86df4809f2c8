//! `barge operator`: the rollout on Kubernetes; what `barge cluster install` starts in the cluster.

use barge_lease::Health;
use barge_operator::Operator;
use barge_operator::build::{Nodes, Settings};
use tokio::sync::watch;

use crate::arguments::Globals;
use crate::failure::Failure;
use crate::replica::{Replica, ReplicaArgs};
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Several replicas may run; the one that holds the Lease `barge-operator` works. It brings WebServices and RpcServices to what is wanted of them, and needs \
no platform for that.

Examples:
  barge cluster install                                         runs it in the cluster, which is the usual way
  barge operator --barge-init registry.example.com/barge@sha256:...   runs it here, for the kubeconfig's cluster";

/// The name of the operator's Lease.
const LEASE: &str = "barge-operator";

/// Run the operator of a Kubernetes cluster
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    replica: ReplicaArgs,
    /// The image with barge-init in /app, by digest
    #[arg(long, value_name = "IMAGE@DIGEST")]
    barge_init: String,
    /// Where pods ask whether they are out of traffic; while its Lease is not renewed, releases freeze
    #[arg(long, value_name = "URL")]
    registrar: Option<String>,
    /// A secret with which images are pulled; may be repeated
    #[arg(long = "pull-secret", value_name = "NAME")]
    pull_secrets: Vec<String>,
    /// Look after this namespace alone
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A label of the nodes that instances go to, where services have nodes of their own; may be repeated
    #[arg(long = "node-selector", value_name = "KEY=VALUE", value_parser = label)]
    node_selector: Vec<(String, String)>,
    /// The key of a taint of those nodes, with which they keep others away; may be repeated
    #[arg(long = "toleration", value_name = "KEY")]
    tolerations: Vec<String>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) =
        parts.ok_or("a label is KEY=VALUE, such as pool=services; see kubectl get nodes --show-labels")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let replica = Replica::new(args.replica).await?.unmarked();
    let nodes = Nodes { selector: args.node_selector.into_iter().collect(), tolerated: args.tolerations };
    let settings =
        Settings { barge_init: args.barge_init, pull_secrets: args.pull_secrets, registrar: args.registrar, nodes };
    terminal.note(&format!("the operator is up: replica {}, Lease {}/{LEASE}", replica.identity, replica.home));
    let (identity, home, client) = (replica.identity.clone(), replica.home.clone(), replica.client.clone());
    // An operator has nothing to say of itself that its silence does not say.
    let (_health, says) = watch::channel(String::new());
    let work = |tenure, fenced, ready| {
        let begins = if settings.registrar.is_some() { not_heard_of() } else { Health::Well };
        let (told, registrar) = watch::channel(begins);
        let operator = Operator {
            client: fenced,
            settings: settings.clone(),
            namespace: args.namespace.clone(),
            tenure,
            registrar,
            identity: Some(identity.clone()),
            ready,
        };
        let (home, client, watched) = (home.clone(), client.clone(), settings.registrar.is_some());
        async move {
            let watching = async {
                match watched {
                    true => barge_lease::watch(client, &home, super::registrar::LEASE, &told).await,
                    false => std::future::pending().await,
                }
            };
            tokio::join!(operator.run(), watching);
        }
    };
    replica.run(LEASE, says, work).await
}

/// Until the registrar's Lease was seen.
fn not_heard_of() -> Health {
    Health::Ill("nothing is known of the registrar yet".to_owned())
}
