//! Barge on the cluster, a service behind its gateway, clients that never pause, and a witness of what must never be.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barge_crds::{ServiceStatus, names};
use barge_load::{Counted, Load, LoadPlan};
use barge_model::manifest::{Drain, Resources};
use barge_model::{Millis, Release, ReleaseId};
use barge_testkit::{barge_binary, cluster};
use barge_world::{Greeter, Images, Place, approval};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) const SYSTEM: &str = "barge-system";
/// How long one state may take to come about, with half of the cluster away.
const PATIENCE: Duration = Duration::from_secs(180);
/// As many instances as there should be.
pub(crate) const REPLICAS: u32 = 3;

/// Barge on a cluster.
pub(crate) struct World {
    pub(crate) greeter: Greeter,
    kubeconfig: PathBuf,
    load: Option<Load>,
    witness: Witness,
    made: u32,
}

impl World {
    /// Installs Barge for one namespace, and has a first release serve under load. None, said aloud, where there is no cluster.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let kubeconfig = cluster::kubeconfig()?;
        let place = Place::new(name).await?;
        let witness = Witness::start(place.api());
        let mut world = Self { greeter: Greeter::new(place), kubeconfig, load: None, witness, made: 0 };
        world.install();
        let first = world.next_release().await;
        world.approve(&first).await;
        world.complete(&first).await;
        let plan = LoadPlan::new(gateway(&world.greeter.place).await, "greeter.test.localhost:7402");
        world.load = Some(Load::start(plan, "nothing happens").unwrap());
        Some(world)
    }

    /// Brings Barge onto the cluster, or a new version of it.
    pub(crate) fn install(&self) {
        let place = &self.greeter.place;
        install(&place.images, &self.kubeconfig, Some(&place.namespace));
    }

    /// `kubectl`, of the cluster of the tests.
    pub(crate) fn kubectl(&self, arguments: &[&str]) {
        let own =
            self.kubeconfig.parent().map(|directory| directory.join("../bin/kubectl")).filter(|path| path.is_file());
        let program = own.unwrap_or_else(|| PathBuf::from("kubectl"));
        succeed(Command::new(program).args(arguments).arg("--kubeconfig").arg(&self.kubeconfig));
    }

    /// Kills or starts a part of Kubernetes.
    pub(crate) fn cluster(&self, arguments: &[&str]) {
        succeed(Command::new(env!("CARGO")).args(["xtask", "cluster"]).args(arguments));
    }

    /// From now on requests are counted under this name.
    pub(crate) fn phase(&self, name: &str) {
        eprintln!("{name}");
        self.load.as_ref().unwrap().phase(name);
    }

    /// Another release, wanted and not approved.
    pub(crate) async fn next_release(&mut self) -> Release {
        self.made += 1;
        let mut release = self.greeter.release(&self.made.to_string(), "hello").await;
        release.config.drain = Drain { quiet: Millis(300), limit: Millis::from_secs(30), grace: Millis::from_secs(5) };
        // Others need the nodes as well.
        release.config.resources = Resources::default();
        self.witness.unapproved(&release);
        self.greeter.want(REPLICAS, &release, None).await;
        release
    }

    pub(crate) async fn approve(&mut self, release: &Release) {
        self.witness.approved(release);
        self.greeter.want(REPLICAS, release, Some(approval(release))).await;
    }

    /// Waits until a release waits for its approval.
    pub(crate) async fn gate(&self, release: &Release) {
        let at_gate = |status: &ServiceStatus| {
            status.waiting_on.on == "approval" && status.candidate.as_deref() == Some(release.id.as_str())
        };
        self.wait("the gate", at_gate).await;
    }

    /// Waits until a release is all that there is.
    pub(crate) async fn complete(&self, release: &Release) {
        let all = usize::try_from(REPLICAS).unwrap();
        let complete = |status: &ServiceStatus| {
            status.stable.as_deref() == Some(release.id.as_str())
                && status.candidate.is_none()
                && status.instances.len() == all
                && status.instances.iter().all(|instance| instance.online && instance.phase == "ready")
        };
        self.wait("the release everywhere", complete).await;
    }

    pub(crate) async fn wait(&self, what: &str, reached: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        self.greeter.wait_for(PATIENCE, what, reached).await
    }

    fn of_system<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.greeter.place.client.clone(), SYSTEM)
    }

    /// The pods of a part of Barge.
    pub(crate) async fn parts(&self, part: &str) -> Vec<Pod> {
        let pods: Api<Pod> = self.of_system();
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        all.into_iter().filter(|pod| pod.name_any().starts_with(part)).collect()
    }

    /// Who holds a Lease.
    pub(crate) async fn leader(&self, part: &str) -> String {
        let leases: Api<Lease> = self.of_system();
        leases.get(part).await.unwrap().spec.unwrap().holder_identity.unwrap()
    }

    /// Kills a pod of Barge, at once.
    pub(crate) async fn kill(&self, pod: &str) {
        let pods: Api<Pod> = self.of_system();
        pods.delete(pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// A node on which the gateway does not run: there is one gateway, and what it has under way ends with it.
    pub(crate) async fn node_without_gateway(&self) -> String {
        let gateway = self.parts("barge-gateway").await;
        let taken = gateway[0].spec.as_ref().unwrap().node_name.clone().unwrap();
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.greeter.place.client.clone());
        let nodes = nodes.list(&ListParams::default()).await.unwrap().items;
        nodes.iter().map(ResourceExt::name_any).find(|node| *node != taken && node.starts_with("node")).unwrap()
    }

    /// Ends the load: no request has failed, whatever happened, and nothing was seen that must not be.
    pub(crate) async fn end(mut self, least: u64) {
        let phases = self.load.take().unwrap().stop().await;
        for phase in &phases {
            println!(
                "{:<60} {:>7} requests {:>3} failed, slowest {:>7.1} ms",
                phase.phase, phase.requests, phase.failed, phase.slowest_ms
            );
        }
        let bad: Vec<&Counted> = phases.iter().filter(|phase| phase.failed > 0).collect();
        assert!(bad.is_empty(), "requests have failed: {bad:#?}");
        assert!(phases.iter().map(|phase| phase.requests).sum::<u64>() > least, "hardly any load: {phases:?}");
        self.witness.judge();
        self.greeter.delete_service().await;
        self.greeter.wait_empty().await;
        on_cluster(&self.kubeconfig, &["uninstall"]);
        self.greeter.end().await;
    }
}

/// The gateway's address on the cluster, which this machine reaches.
pub(crate) async fn gateway(place: &Place) -> SocketAddr {
    let services: Api<Service> = Api::namespaced(place.client.clone(), SYSTEM);
    let service = services.get("barge-gateway").await.unwrap();
    let address: IpAddr = service.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
    (address, 7402).into()
}

fn succeed(command: &mut Command) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {stdout}{stderr}");
}

/// Looks all the time how many instances each release has: before its approval never more than one (I1).
struct Witness {
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Whether a release is approved, and the most instances that it had before.
    releases: BTreeMap<ReleaseId, (bool, usize)>,
    looks: usize,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Witness {
    fn start(pods: Api<Pod>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let looking = tokio::spawn(look(pods, Arc::clone(&seen)));
        Self { seen, looking }
    }

    fn unapproved(&self, release: &Release) {
        self.seen.lock().unwrap().releases.insert(release.id.clone(), (false, 0));
    }

    fn approved(&self, release: &Release) {
        self.seen.lock().unwrap().releases.get_mut(&release.id).unwrap().0 = true;
    }

    fn judge(&self) {
        let seen = self.seen.lock().unwrap();
        assert!(seen.looks > 50, "{} looks are none", seen.looks);
        let too_many: Vec<_> = seen.releases.iter().filter(|(_, (_, most))| *most > 1).collect();
        assert!(too_many.is_empty(), "before their approval there were more than one (I1): {too_many:?}");
    }
}

async fn look(pods: Api<Pod>, seen: Arc<Mutex<Seen>>) {
    loop {
        let before: Vec<ReleaseId> = {
            let seen = seen.lock().unwrap();
            seen.releases.iter().filter(|(_, (approved, _))| !approved).map(|(id, _)| id.clone()).collect()
        };
        // While the API server is away, nobody starts anything.
        if let Ok(all) = pods.list(&ListParams::default()).await {
            let lives = all.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let of: Vec<&str> = lives.filter_map(|pod| pod.labels().get(names::RELEASE).map(String::as_str)).collect();
            let mut seen = seen.lock().unwrap();
            seen.looks += 1;
            for id in before {
                let count = of.iter().filter(|release| **release == id.as_str()).count();
                // Approved meanwhile, it may be what this look has seen.
                if let Some((false, most)) = seen.releases.get_mut(&id) {
                    *most = (*most).max(count);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for something outside of the service.
pub(crate) async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached().await {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Brings Barge onto the cluster, for one namespace or for all, or a new version of it.
pub(crate) fn install(images: &Images, kubeconfig: &Path, namespace: Option<&str>) {
    let (here, there) = images.names();
    let (registry, push_to) = (format!("{there}/barge"), format!("{here}/barge"));
    let mut arguments = vec!["install", "--registry", &registry, "--push-to", &push_to, "--pull-secret", "barge-pull"];
    arguments.extend(namespace.iter().flat_map(|namespace| ["--namespace-of-services", namespace]));
    on_cluster(kubeconfig, &arguments);
}

/// `barge cluster`.
pub(crate) fn on_cluster(kubeconfig: &Path, arguments: &[&str]) {
    let mut command = Command::new(barge_binary());
    succeed(command.arg("cluster").args(arguments).arg("--kubeconfig").arg(kubeconfig));
}
