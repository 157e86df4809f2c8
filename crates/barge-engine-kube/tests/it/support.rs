//! An engine with all that it needs, and images with a shell, for looking into instances.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use barge_engine::{
    Desired, Engine, EngineError, ExecOutput, ExecRequest, ExecSession, InstanceReport, ServiceReport, WindowSize,
};
use barge_engine_kube::{KubernetesEngine, Settings};
use barge_model::rollout::RolloutSpec;
use barge_model::{EnvironmentName, Release};
use barge_operator::build;
use barge_world::{PATIENCE, Place, approval, key};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How to run the shell that [`World::with_shell`] puts into an image.
pub(crate) const SHELL: [&str; 4] = ["/app/ld.so", "--library-path", "/app", "/app/sh"];
/// How to run another program of it, from the shell.
pub(crate) const RUN: &str = "/app/ld.so --library-path /app /app/";

pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) engine: Arc<KubernetesEngine>,
    operator: JoinHandle<()>,
    registrar: JoinHandle<()>,
    version: u64,
    made: u128,
}

impl Drop for World {
    fn drop(&mut self) {
        self.operator.abort();
        self.registrar.abort();
    }
}

impl World {
    /// None, said aloud, where there is no cluster.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        let place = Place::new(name).await?;
        let settings = build::Settings::new(&*place.barge_init);
        let (client, namespace) = (place.client.clone(), place.namespace.clone());
        let operator = tokio::spawn(barge_operator::run(client, settings, Some(namespace)));
        let registrar = tokio::spawn(barge_world::register(place.api()));
        let engine = engine(&place, &place.namespace, &["test"]);
        Some(Self { place, engine, operator, registrar, version: 0, made: 1000 })
    }

    /// A release of greeter whose image has a shell.
    pub(crate) async fn with_shell(&mut self, starts: bool) -> Release {
        let files = tempfile::tempdir().unwrap();
        std::fs::copy(barge_world::greeter(), files.path().join("greeter")).unwrap();
        let mistake = if starts { "" } else { "greting = hullo\n" };
        std::fs::write(files.path().join("greeter.conf"), format!("version = 1\ngreeting = hello\n{mistake}")).unwrap();
        for (name, program) in [("sh", "/bin/sh"), ("stty", "/usr/bin/stty"), ("sleep", "/usr/bin/sleep")] {
            copy_with_libraries(Path::new(program), name, files.path());
        }
        let (image, digest) = self.place.images.push("greeter", files.path(), &["./greeter"]).await;
        self.made += 1;
        let mut release = barge_world::release(self.made);
        release.config.env.remove("PASSWORD");
        release.config.drain.limit = barge_model::Millis::from_secs(1);
        Release { image, digest: digest.parse().unwrap(), ..release }
    }

    pub(crate) async fn try_apply(&mut self, rollout: RolloutSpec) -> Result<(), EngineError> {
        self.version += 1;
        self.engine.apply(Desired { key: key(), version: self.version, rollout }).await
    }

    /// Has a release run, approved.
    pub(crate) async fn run(&mut self, replicas: u32, release: &Release) {
        let approvals = vec![approval(release)];
        let rollout = RolloutSpec { replicas, target: Some(release.clone()), approvals, withdrawn: None };
        self.try_apply(rollout).await.unwrap();
    }

    pub(crate) async fn report(&self) -> Arc<ServiceReport> {
        self.engine.report(&key()).await.unwrap().unwrap()
    }

    /// Waits for a report.
    pub(crate) async fn wait(&self, what: &str, reached: impl Fn(&ServiceReport) -> bool) -> Arc<ServiceReport> {
        wait(self.engine.as_ref(), what, reached).await
    }

    /// Waits for the one instance that there is to be so.
    pub(crate) async fn wait_one(&self, what: &str, reached: impl Fn(&InstanceReport) -> bool) -> InstanceReport {
        let is_one = |report: &ServiceReport| report.instances.len() == 1 && reached(&report.instances[0]);
        self.wait(what, is_one).await.instances[0].clone()
    }

    /// One instance that serves, with a shell.
    pub(crate) async fn serving(&mut self) -> InstanceReport {
        let release = self.with_shell(true).await;
        self.run(1, &release).await;
        self.wait_one("an instance that serves", |one| one.online).await
    }

    pub(crate) async fn exec(
        &self,
        instance: &InstanceReport,
        command: &[&str],
        terminal: Option<WindowSize>,
    ) -> Result<ExecSession, EngineError> {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        self.engine.exec(&key(), &instance.id, ExecRequest { command, terminal }).await
    }

    pub(crate) async fn shell(&self, instance: &InstanceReport, script: &str) -> ExecSession {
        self.exec(instance, &[&SHELL[..], &["-c", script]].concat(), None).await.unwrap()
    }

    /// The business process comes to its end.
    pub(crate) async fn kill(&self, instance: &InstanceReport) {
        self.with_pid(instance, "kill -9 $pid").await;
    }

    /// Runs a script that knows the business process as `pid`.
    pub(crate) async fn with_pid(&self, instance: &InstanceReport, script: &str) {
        let found = "read name < $p/comm && [ $name = greeter ] && pid=${p#/proc/}";
        let script = format!("for p in /proc/[0-9]*; do {found}; done; {script}");
        let mut session = self.shell(instance, &script).await;
        // One that kills the container's first process sees no end of its own.
        while next(&mut session).await.is_some_and(|output| !matches!(output, ExecOutput::Exit(_))) {}
    }

    pub(crate) async fn end(self) {
        self.engine.stop().await;
        self.place.end().await;
    }
}

/// An engine for the namespace, or the namespaces, that a pattern names.
pub(crate) fn engine(place: &Place, pattern: &str, environments: &[&str]) -> Arc<KubernetesEngine> {
    let environments = environments.iter().map(|name| EnvironmentName::new(*name).unwrap()).collect();
    let settings =
        Settings { client: place.client.clone(), namespaces: pattern.parse().unwrap(), environments, images: None };
    KubernetesEngine::start(settings).unwrap()
}

pub(crate) async fn wait(
    engine: &dyn Engine,
    what: &str,
    reached: impl Fn(&ServiceReport) -> bool,
) -> Arc<ServiceReport> {
    let deadline = Instant::now() + PATIENCE;
    let mut changes = engine.changes();
    loop {
        changes.borrow_and_update();
        let report = engine.report(&key()).await.unwrap();
        if let Some(report) = report.as_ref().filter(|report| reached(report)) {
            return Arc::clone(report);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let changed = tokio::time::timeout(left, changes.changed()).await;
        assert!(changed.is_ok(), "waited in vain for: {what}; last: {report:#?}");
    }
}

/// What a session says next; nothing after its end.
pub(crate) async fn next(session: &mut ExecSession) -> Option<ExecOutput> {
    tokio::time::timeout(Duration::from_secs(30), session.output.recv()).await.expect("output")
}

/// A program of this machine, as one that needs nothing of the image that it is in.
fn copy_with_libraries(program: &Path, name: &str, to: &Path) {
    std::fs::copy(program, to.join(name)).unwrap();
    let told = Command::new("ldd").arg(program).output().unwrap();
    for line in String::from_utf8(told.stdout).unwrap().lines() {
        let path = line.split_whitespace().find(|word| word.starts_with('/'));
        let Some(path) = path.map(Path::new) else { continue };
        let file = path.file_name().unwrap().to_str().unwrap();
        let file = if file.starts_with("ld-") { "ld.so" } else { file };
        std::fs::copy(path, to.join(file)).unwrap();
    }
}
