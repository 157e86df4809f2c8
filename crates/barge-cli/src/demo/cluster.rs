//! The demo on a Kubernetes cluster: what has to be there before it, and what is taken away after it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use barge_cluster::NAMESPACE;
use barge_engine_kube::{Images, NamespacePattern};
use barge_model::EnvironmentName;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::{Stage, bare};
use crate::failure::{Failure, Kind};
use crate::platform::{DataDirectory, EnvironmentConfig, KubernetesConfig, Platform, PlatformConfig, Ports};
use crate::replica::ClusterArgs;

/// Where the demo's service is.
const PATTERN: &str = "barge-demo-{environment}";
/// The gateway's Service, and its port for requests.
const GATEWAY: (&str, u16) = ("barge-gateway", 7402);
/// How long a connection to the gateway may take.
const REACH: Duration = Duration::from_secs(5);
/// How long the demo's instances may take to end.
const END: Duration = Duration::from_secs(120);

/// How the demo finds the cluster, and the cluster the demo.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Place {
    /// On the kubeconfig's Kubernetes cluster, which has to be without Barge, instead of on this machine
    #[arg(long)]
    pub(super) kubernetes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Where nodes find this machine: they pull images from here [default: as this machine reaches the API server]
    #[arg(long, value_name = "ADDRESS", requires = "kubernetes")]
    address: Option<IpAddr>,
    /// The port of the registry, which nodes have to be told that it speaks HTTP; 0 for any
    #[arg(long, value_name = "PORT", requires = "kubernetes", default_value_t = 0)]
    registry_port: u16,
}

/// A cluster with everything that the demo needs.
pub(super) struct Prepared {
    pub(super) platform: Platform,
    pub(super) gateway: SocketAddr,
    client: Client,
    namespace: String,
    kubeconfig: Vec<String>,
}

/// Brings Barge onto the cluster, from a registry of this process, and starts a platform for it.
pub(super) async fn prepare(
    stage: &Stage,
    args: &Place,
    directory: DataDirectory,
    environment: &EnvironmentName,
) -> Result<Prepared, Failure> {
    let config = args.cluster.config().await?;
    let address = match args.address {
        Some(address) => address,
        None => seen_from(config.cluster_url.host().unwrap_or_default(), config.cluster_url.port_u16().unwrap_or(443))?,
    };
    let client = Client::try_from(config).map_err(|error| Failure::from_error(Kind::General, &error))?;
    refuse_where_barge_is(&client).await?;

    // First the registry alone: what its port is, and where the gateway will be, is part of what the environment is.
    let path = directory.path().to_owned();
    let platform =
        Platform::start(directory, platform(vec![EnvironmentConfig::here(environment.clone())], args)).await?;
    let pulled = SocketAddr::new(address, platform.registry.port()).to_string();
    let images = Images {
        pushed: platform.registry.to_string(),
        pulled: pulled.clone(),
        token: platform.pull_token().to_owned(),
    };
    make_namespace(&client, NAMESPACE).await?;
    images.write(&client, NAMESPACE).await.map_err(|error| refused("write the secret for pulling images", &error))?;
    let kubeconfig = spelled(&args.cluster);
    let token = platform.directory().token_path().display().to_string();
    let (registry, push_to) = (format!("{pulled}/barge"), format!("{}/barge", images.pushed));
    let mut words = vec!["cluster", "install", "--registry", &registry, "--push-to", &push_to];
    words.extend(["--registry-user", "demo", "--registry-password-file", &token]);
    words.extend(["--pull-secret", barge_engine_kube::images::SECRET]);
    words.extend(kubeconfig.iter().map(String::as_str));
    let installed = stage.command_of_no_service(&words).await;
    platform.stop().await;
    installed?;

    let gateway = gateway(&client).await?;
    let namespaces: NamespacePattern = PATTERN.parse().map_err(|error| Failure::from_error(Kind::General, &error))?;
    let namespace = namespaces.of(environment);
    let kubernetes = KubernetesConfig {
        kubeconfig: args.cluster.kubeconfig.clone(),
        context: args.cluster.context.clone(),
        namespace: namespaces,
        pulls_from: Some(pulled),
        registry: None,
        gateway: Some(gateway.to_string()),
        domain: "localhost".to_owned(),
    };
    let there = EnvironmentConfig { kubernetes: Some(kubernetes), ..EnvironmentConfig::here(environment.clone()) };
    let platform = Platform::start(DataDirectory::open(path)?, self::platform(vec![there], args)).await?;
    Ok(Prepared { platform, gateway, client, namespace, kubeconfig })
}

impl Prepared {
    /// Takes away the demo's service, and then Barge.
    pub(super) async fn clean_up(
        client: &Client,
        namespace: &str,
        kubeconfig: &[String],
        stage: &Stage,
    ) -> Result<(), Failure> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        match namespaces.delete(namespace, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            deleted => drop(deleted.map_err(|error| refused(&format!("delete the namespace {namespace}"), &error))?),
        }
        // Who takes instances out of traffic has to be there until the last one has ended.
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            let left = pods.list(&ListParams::default().limit(1)).await;
            if left.is_ok_and(|left| left.items.is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let words = ["cluster", "uninstall"].into_iter().chain(kubeconfig.iter().map(String::as_str));
        stage.command_of_no_service(&words.collect::<Vec<_>>()).await
    }

    /// What is needed to clean up once the platform has stopped.
    pub(super) fn into_parts(self) -> (Platform, Client, String, Vec<String>) {
        (self.platform, self.client, self.namespace, self.kubeconfig)
    }
}

fn platform(environments: Vec<EnvironmentConfig>, args: &Place) -> PlatformConfig {
    let ports = Ports { registry: args.registry_port, ..Ports::default() };
    PlatformConfig { registry_address: Ipv4Addr::UNSPECIFIED.into(), ports, ..bare(environments) }
}

/// The address from which this machine reaches another one.
fn seen_from(host: &str, port: u16) -> Result<IpAddr, Failure> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let bind = |any: &str| {
        UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect((bare, port))?;
            // Nothing is sent: the system says which way it would go.
            socket.local_addr()
        })
    };
    let found = bind("0.0.0.0").or_else(|_| bind("::"));
    let found = found.map_err(|error| Failure::io(format!("find out how {host} reaches this machine"), &error))?;
    match found.ip() {
        ip if ip.is_loopback() => {
            Err(Failure::new(Kind::Usage, "the API server is on this machine, and nodes may see it otherwise")
                .hint("say with --address where nodes find this machine"))
        }
        ip => Ok(ip),
    }
}

/// The parts of a Barge that somebody uses are not the demo's to replace.
async fn refuse_where_barge_is(client: &Client) -> Result<(), Failure> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let found = deployments.list(&ListParams::default()).await;
    let found = found.map_err(|error| refused(&format!("look into the namespace {NAMESPACE}"), &error))?;
    match found.items.first() {
        None => Ok(()),
        Some(first) => Err(Failure::new(
            Kind::Refused,
            format!("this cluster has Barge: the Deployment {NAMESPACE}/{} is there", first.name_any()),
        )
        .hint("use it with `barge up --config FILE`, or take it away with `barge cluster uninstall`")),
    }
}

async fn make_namespace(client: &Client, name: &str) -> Result<(), Failure> {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    match Api::all(client.clone()).create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop).map_err(|error| refused(&format!("make the namespace {name}"), &error)),
    }
}

/// Where the cluster's gateway answers, as far as this machine reaches it.
async fn gateway(client: &Client) -> Result<SocketAddr, Failure> {
    let (name, port) = GATEWAY;
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let service = services.get(name).await.map_err(|error| refused(&format!("look for the Service {name}"), &error))?;
    let address = service.spec.and_then(|spec| spec.cluster_ip).and_then(|address| address.parse::<IpAddr>().ok());
    let address =
        address.ok_or_else(|| Failure::new(Kind::General, format!("the Service {NAMESPACE}/{name} has no address")))?;
    let gateway = SocketAddr::new(address, port);
    match tokio::time::timeout(REACH, tokio::net::TcpStream::connect(gateway)).await {
        Ok(Ok(_)) => Ok(gateway),
        _ => Err(Failure::new(Kind::Unreachable, format!("this machine does not reach the gateway at {gateway}"))
            .hint("the demo has to run where addresses of Services are reached, such as on a node")),
    }
}

fn refused(doing: &str, error: &kube::Error) -> Failure {
    Failure::new(Kind::Refused, format!("{doing}: {}", barge_runtime::chain(error))).hint("barge cluster check")
}

/// The options that name the cluster, for commands.
fn spelled(cluster: &ClusterArgs) -> Vec<String> {
    let path = |path: &PathBuf| ["--kubeconfig".to_owned(), path.display().to_string()];
    let context = |context: &String| ["--context".to_owned(), context.clone()];
    cluster.kubeconfig.iter().flat_map(path).chain(cluster.context.iter().flat_map(context)).collect()
}
