//! Images in the hands of other tools: each takes each of them, and runc starts what they say by themselves.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use barge_load::LoadPlan;
use barge_testkit::{TestPlatform, skipped, tool};
use barge_world::Bases;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::{boot, war};
use crate::support::{answers, greeter, wait_for};

/// What a container may have; the JVM is to take its heap from it.
const MEMORY: u64 = 400 << 20;

/// Runs a program that must succeed; the result is what it printed.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout.into_owned()
}

/// An image as an OCI layout.
struct Layout {
    directory: PathBuf,
    digest: String,
}

impl Layout {
    fn build(platform: &TestPlatform, project: &Path, to: &str) -> Self {
        let directory = platform.project(to);
        let built = platform.barge_json(project, &["build", "--output", &format!("oci:{}", directory.display())]);
        Self { directory, digest: built["digest"].as_str().unwrap().to_owned() }
    }

    /// skopeo reads it, copies it, and changes nothing.
    fn through_skopeo(&self, copy: PathBuf) -> Self {
        let from = format!("oci:{}", self.directory.display());
        let inspected: Value = serde_json::from_str(&run(Command::new("skopeo").args(["inspect", &from]))).unwrap();
        assert_eq!(inspected["Digest"].as_str().unwrap(), self.digest);
        assert!(!inspected["Layers"].as_array().unwrap().is_empty());
        let to = format!("oci:{}:latest", copy.display());
        run(Command::new("skopeo").args(["copy", "--quiet", "--preserve-digests", &from, &to]));
        Self { directory: copy, digest: self.digest.clone() }
    }

    /// umoci unpacks it to what a runtime can start.
    fn through_umoci(&self, bundle: &Path) {
        let image = format!("{}:latest", self.directory.display());
        let rootless = (!geteuid().is_root()).then_some("--rootless");
        run(Command::new("umoci").args(["unpack", "--image", &image]).args(rootless).arg(bundle));
    }
}

/// buildah pulls what is pushed, and makes a working container of it.
fn through_buildah(platform: &TestPlatform, project: &Path) {
    let storage = platform.project("storage");
    let buildah = || {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
        buildah
    };
    let pushed = platform.barge_json(project, &["build"]);
    let credentials = format!("barge:{}", platform.token);
    let image = format!("docker://{}", pushed["reference"].as_str().unwrap());
    let pull = ["from", "--quiet", "--tls-verify=false", "--creds", &credentials, &image];
    let container = run(buildah().args(pull));
    let inspected: Value = serde_json::from_str(&run(buildah().args(["inspect", container.trim()]))).unwrap();
    assert_eq!(inspected["FromImageDigest"], pushed["digest"]);
    assert_eq!(inspected["OCIv1"]["config"]["WorkingDir"], "/app");
    run(buildah().args(["rm", container.trim()]));
}

fn tools() -> Option<()> {
    for needed in ["skopeo", "umoci", "buildah", "runc"] {
        tool(needed)?;
    }
    geteuid().is_root().then_some(()).or_else(|| {
        skipped("only root may start a container");
        None
    })
}

/// A container that runc runs, in this machine's network.
struct Container {
    id: String,
    state: PathBuf,
    runc: Child,
}

impl Container {
    fn start(bundle: &Path, port: u16) -> Self {
        let path = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["env"].as_array_mut().unwrap().push(json!(format!("PORT={port}")));
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
        config["linux"]["resources"]["memory"] = json!({ "limit": MEMORY });
        std::fs::write(&path, config.to_string()).unwrap();
        let id = format!("barge-test-{port}");
        let state = bundle.join("state");
        let log = std::fs::File::create(bundle.join("log")).unwrap();
        let runc = Command::new("runc")
            .arg("--root")
            .arg(&state)
            .args(["run", "--bundle"])
            .arg(bundle)
            .arg(&id)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { id, state, runc }
    }

    fn kill(&self, signal: &str) {
        let told = Command::new("runc").arg("--root").arg(&self.state).args(["kill", &self.id, signal]).output();
        assert!(told.unwrap().status.success());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("runc").arg("--root").arg(&self.state).args(["delete", "--force", &self.id]).output();
        let _ = self.runc.kill();
        let _ = self.runc.wait();
    }
}

/// The image starts by what it says itself, answers, knows its limit, and ends in good order.
fn runs(bundle: &Path, path: &str) -> Value {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut container = Container::start(bundle, port);
    let log = || std::fs::read_to_string(bundle.join("log")).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    wait_for("the container listens", || {
        assert!(container.runc.try_wait().unwrap().is_none(), "{}", log());
        std::net::TcpStream::connect(address).is_ok()
    });
    let plan = LoadPlan { path: path.to_owned(), ..LoadPlan::new(address, format!("localhost:{port}")) };
    let told = answers(&plan, 1).into_iter().next().unwrap();
    container.kill("TERM");
    wait_for("the container ends", || container.runc.try_wait().unwrap().is_some());
    let status = container.runc.wait().unwrap();
    assert!(status.success() || status.code() == Some(143), "{status}: {}", log());
    serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"))
}

fn assert_heap(told: &Value) {
    let heap = told["heap"].as_u64().unwrap();
    assert!(heap > MEMORY / 2 && heap < MEMORY * 4 / 5, "{heap} of {MEMORY}");
}

#[test]
fn an_image_of_files() {
    if tools().is_none() {
        return;
    }
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    let layout = Layout::build(&platform, &project, "layout").through_skopeo(platform.project("copy"));
    let bundle = platform.project("bundles").join("greeter");
    layout.through_umoci(&bundle);
    let (there, here) = (bundle.join("rootfs/app/greeter"), project.join("dist/greeter"));
    assert!(std::fs::read(there).unwrap() == std::fs::read(here).unwrap(), "the program has other bytes");
    through_buildah(&platform, &project);
}

#[test]
fn the_image_of_a_boot_application_on_a_base_that_umoci_has_made() {
    if tools().is_none() {
        return;
    }
    let platform = TestPlatform::start();
    let (Some(project), Some(bases)) = (boot(&platform), Bases::new()) else { return };
    let web = project.path("web");
    let manifest = format!(
        "name: boot\nkind: web\nbuild: {{base: 'oci:{}'}}\nresources: {{memory: 400MiB}}\n",
        bases.java.display()
    );
    std::fs::write(web.join("barge.yaml"), manifest).unwrap();
    let layout = Layout::build(&platform, &web, "layout").through_skopeo(platform.project("copy"));
    let bundle = platform.project("bundles").join("boot");
    layout.through_umoci(&bundle);
    through_buildah(&platform, &web);
    assert_heap(&runs(&bundle, "/jvm"));
}

#[test]
fn the_image_of_a_war_on_a_base_with_tomcat() {
    if tools().is_none() {
        return;
    }
    let platform = TestPlatform::start();
    let (Some(project), Some(bases)) = (war(&platform), Bases::new()) else { return };
    let shop = project.path("");
    let manifest = format!(
        "name: shop\nkind: web\nbuild: {{base: 'oci:{}'}}\nresources: {{memory: 400MiB}}\n",
        bases.tomcat.display()
    );
    std::fs::write(shop.join("barge.yaml"), manifest).unwrap();
    let layout = Layout::build(&platform, &shop, "layout").through_skopeo(platform.project("copy"));
    let bundle = platform.project("bundles").join("shop");
    layout.through_umoci(&bundle);
    through_buildah(&platform, &shop);
    assert_heap(&runs(&bundle, "/orders"));
}

#[test]
fn an_image_for_two_kinds_of_machines() {
    if tools().is_none() {
        return;
    }
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    std::fs::write(
        project.join("barge.yaml"),
        "name: greeter\nkind: web\nbuild: {platforms: [linux/amd64, linux/arm64]}\n",
    )
    .unwrap();
    let pushed = platform.barge_json(&project, &["build"]);
    let (credentials, image) =
        (format!("barge:{}", platform.token), format!("docker://{}", pushed["reference"].as_str().unwrap()));
    let skopeo = |words: &[&str]| {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(words);
        skopeo
    };
    let inspect = ["inspect", "--tls-verify=false", "--creds", &credentials];
    let index: Value = serde_json::from_str(&run(skopeo(&inspect).args(["--raw", &image]))).unwrap();
    let machines: Vec<&Value> =
        index["manifests"].as_array().unwrap().iter().map(|entry| &entry["platform"]["architecture"]).collect();
    assert_eq!(machines, ["amd64", "arm64"]);
    let copy = platform.project("copy");
    run(skopeo(&[
        "copy",
        "--quiet",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--src-creds",
        &credentials,
    ])
    .args([&image, &format!("oci:{}:latest", copy.display())]));
    let copied = std::fs::read_to_string(copy.join("index.json")).unwrap();
    assert!(copied.contains(pushed["digest"].as_str().unwrap()), "nothing was changed on the way: {copied}");
    for machine in ["amd64", "arm64"] {
        let inspected = run(skopeo(&["--override-arch", machine]).args(inspect).arg(&image));
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        assert_eq!(inspected["Architecture"], machine);
    }
}
