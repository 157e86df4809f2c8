//! The registrar on Kubernetes.
//!
//! Data flow: watch of pods → [`pods`] → `Registrar` → acknowledgements → [`condition`] → `write` → the pods' readiness gate. Pods that are about to
//! stop ask here whether they are out of traffic ([`traffic`]). `pods` and `condition` are pure; `view` is what is known of the cluster.
//!
//! State is what the pods, the journal and the gateway say. The journal is for a restart within the same pod; where it is lost, the gateway's own list takes
//! its place. It leaves out which of several registrars works: whoever runs it holds the lease.

pub mod condition;
pub mod pods;
pub mod traffic;
mod view;
mod write;

use std::sync::Arc;
use std::time::Duration;

use barge_model::registration::Acknowledgements;
use barge_model::rollout::RegistrarHealth;
use barge_runtime::{Stopped, Tasks};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::traffic::Desk;
use self::view::{View, Watch};
use self::write::Writer;
use crate::journal::JournalError;
use crate::registrar::{Registrar, RegistrarConfig, channel};
use crate::targets::RegistrationTarget;

/// How long everything may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Registers the pods of a cluster.
pub struct PodRegistrar<T> {
    client: Client,
    namespace: Option<String>,
    target: Arc<T>,
    registrar: Registrar<Arc<T>>,
    view: View,
    watch: Watch,
    health: watch::Sender<RegistrarHealth>,
}

impl<T: RegistrationTarget> PodRegistrar<T> {
    /// A registrar for the pods of one namespace, or of all, with what its journal says.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn open(
        client: Client,
        namespace: Option<String>,
        target: T,
        config: RegistrarConfig,
    ) -> Result<Self, JournalError> {
        let target = Arc::new(target);
        // A pod's address goes with it.
        let silent_for = config.refused_for * 2;
        let registrar = Registrar::open(Arc::clone(&target), config)?.believe_silence(silent_for);
        let (view, watch) = view::view(registrar.services());
        let (unknown, _) = channel();
        let health = watch::Sender::new(unknown.borrow().health.clone());
        Ok(Self { client, namespace, target, registrar, view, watch, health })
    }

    /// How it is: whether pods are known, registrations go through, and pods are told. It ends with the registrar.
    pub fn health(&self) -> watch::Receiver<RegistrarHealth> {
        self.health.subscribe()
    }

    /// Works until `shutdown`, and answers pods on `listener` meanwhile. Where it is dropped, everything ends at once.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> Stopped {
        let api: Api<Pod> = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let (sender, acknowledgements) = channel();
        let (writer, untold) = Writer::new(self.client, self.view.clone(), acknowledgements.clone());
        let desk = Desk::new(self.view.clone(), acknowledgements.clone(), self.health.subscribe(), self.target);
        let troubles = [self.view.trouble.clone(), untold];
        let mut tasks = Tasks::default();
        let stop = tasks.shutdown_token();
        tasks.spawn("registrations", self.registrar.run(self.view.wanted.clone(), sender, stop.clone()));
        tasks.spawn("answers to pods", desk.serve(listener, stop.clone()));
        tasks.spawn("watch of pods", unless(stop.clone(), self.watch.run(api)));
        tasks.spawn("conditions of pods", unless(stop.clone(), writer.run()));
        tasks.spawn("health", unless(stop.clone(), tell_health(self.health, self.view, troubles, acknowledgements)));
        let stopped = tokio::select! {
            stopped = tasks.until_stopped() => stopped,
            () = shutdown.cancelled() => Stopped::Asked,
        };
        tasks.stop(STOP_LIMIT).await;
        stopped
    }
}

async fn unless(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// Puts together how the parts are.
async fn tell_health(
    health: watch::Sender<RegistrarHealth>,
    mut view: View,
    [mut unseen, mut untold]: [watch::Receiver<Option<String>>; 2],
    mut acknowledgements: watch::Receiver<Acknowledgements>,
) {
    loop {
        let is_listed = view.instances.borrow_and_update().is_some();
        let trouble = unseen.borrow_and_update().clone().or_else(|| untold.borrow_and_update().clone());
        let next = match trouble {
            Some(reason) => RegistrarHealth::Unhealthy { reason },
            None if !is_listed => {
                RegistrarHealth::Unhealthy { reason: "the registrar does not know all pods yet".to_owned() }
            }
            None => acknowledgements.borrow_and_update().health.clone(),
        };
        health.send_if_modified(|before| {
            let changed = *before != next;
            *before = next;
            changed
        });
        let changed = tokio::select! {
            changed = unseen.changed() => changed,
            changed = untold.changed() => changed,
            changed = acknowledgements.changed() => changed,
            changed = view.instances.changed(), if !is_listed => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
