//! What the stories share: projects, and a whole release under load.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barge_load::{Counted, Load, LoadPlan};
use barge_testkit::{TestPlatform, put_greeter};

use crate::judge::Judged;

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A project with greeter, as a build would leave it.
pub(crate) fn greeter(platform: &TestPlatform, replicas: u32) -> PathBuf {
    greeter_in(platform.project("greeter"), "greeter", replicas)
}

/// The same in a directory of its own, and under a name of its own.
pub(crate) fn greeter_in(project: PathBuf, name: &str, replicas: u32) -> PathBuf {
    put_greeter(&project, &format!("name: {name}\nkind: web\nreplicas: {replicas}\n"));
    greeter_version(&project, "good");
    project
}

/// Gives the project another version of greeter: `good`, `better` or `broken`.
pub(crate) fn greeter_version(project: &Path, version: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/greeter/versions/{version}.conf"));
    std::fs::copy(source, project.join("dist/greeter.conf")).unwrap();
}

/// Load on a service of this platform.
pub(crate) fn load_plan(platform: &TestPlatform, service: &str) -> LoadPlan {
    LoadPlan::new(platform.gateway, format!("{service}.local.localhost:{}", platform.gateway.port()))
}

/// Releases the project's first version, approves it, and waits until it is complete.
pub(crate) fn release_first(platform: &TestPlatform, project: &Path) {
    platform.barge(project, &["deploy"]);
    platform.barge(project, &["approve", "--wait", "complete"]);
}

/// Waits until `reached` says yes.
pub(crate) fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    wait_until_right(what, PATIENCE, || if reached() { Ok(()) } else { Err("it did not come".to_owned()) });
}

/// Waits until `judge` finds nothing wrong any more, at most `limit`.
pub(crate) fn wait_until_right(what: &str, limit: Duration, mut judge: impl FnMut() -> Judged) {
    let deadline = Instant::now() + limit;
    while let Err(wrong) = judge() {
        assert!(Instant::now() < deadline, "waited in vain for {what}: {wrong}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `story` while clients ask; every phase must have asked and nothing may have failed.
pub(crate) fn under_load(plan: LoadPlan, story: impl FnOnce(&dyn Fn(&str))) -> Vec<Counted> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let load = {
        let _inside = runtime.enter();
        Load::start(plan, "before").unwrap()
    };
    let some = |load: &Load| assert!(runtime.block_on(load.until_counted(20, PATIENCE)), "nobody is answered");
    some(&load);
    story(&|phase| {
        load.phase(phase);
        some(&load);
    });
    some(&load);
    let counted = runtime.block_on(load.stop());
    for phase in &counted {
        assert_eq!(phase.failed, 0, "{phase:?}");
    }
    counted
}

/// The distinct answers that a few requests get.
pub(crate) fn answers(plan: &LoadPlan, count: usize) -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(barge_load::some_answers(plan, count)).unwrap().into_keys().collect()
}
