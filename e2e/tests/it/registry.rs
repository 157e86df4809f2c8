//! The embedded registry as others see it: skopeo copies from it, containerd pulls from it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use barge_testkit::{TestPlatform, tool};

use crate::support::{greeter, wait_for};

#[test]
fn skopeo_copies_what_barge_has_pushed() {
    let Some(skopeo) = tool("skopeo") else { return };
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    let built = platform.barge_json(&project, &["build"]);
    let copy = platform.project("copy");
    let status = Command::new(skopeo)
        .args(["copy", "--quiet", "--src-tls-verify=false", "--src-creds", &format!("barge:{}", platform.token)])
        .arg(format!("docker://{}", built["reference"].as_str().unwrap()))
        .arg(format!("oci:{}:latest", copy.display()))
        .status()
        .unwrap();
    assert!(status.success());
    let index = std::fs::read_to_string(copy.join("index.json")).unwrap();
    assert!(index.contains(built["digest"].as_str().unwrap()), "nothing was changed on the way: {index}");
}

#[test]
fn containerd_pulls_what_barge_has_pushed() {
    let (Some(containerd), Some(ctr)) = (tool("containerd"), tool("ctr")) else { return };
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    let built = platform.barge_json(&project, &["build"]);
    let directory = platform.project("containerd");
    let daemon = Containerd::start(&containerd, &ctr, &directory);
    let pulled = daemon
        .ctr(&["images", "pull", "--plain-http", "--snapshotter", "native", "--user"])
        .arg(format!("barge:{}", platform.token))
        .arg(built["reference"].as_str().unwrap())
        .output()
        .unwrap();
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    let listed = daemon.ctr(&["images", "list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains(built["digest"].as_str().unwrap()));
}

/// A containerd of the test's own.
struct Containerd {
    child: Child,
    ctr: std::path::PathBuf,
    socket: std::path::PathBuf,
}

impl Containerd {
    fn start(program: &Path, ctr: &Path, directory: &Path) -> Self {
        let config = directory.join("config.toml");
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.btrfs\", \
                    \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.internal.v1.opt\"]\n";
        std::fs::write(&config, text).unwrap();
        let socket = directory.join("sock");
        let child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .arg("--root")
            .arg(directory.join("root"))
            .arg("--state")
            .arg(directory.join("state"))
            .arg("--address")
            .arg(&socket)
            .stderr(std::fs::File::create(directory.join("log")).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { child, ctr: ctr.to_owned(), socket };
        wait_for("containerd", || daemon.ctr(&["version"]).output().unwrap().status.success());
        daemon
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.ctr);
        command.arg("--address").arg(&self.socket).args(arguments);
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
