//! `barge demo`, as the README begins: every act, no failed request, nothing left behind; on this machine, and on a Kubernetes cluster.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use barge_testkit::{barge_binary, cluster};

#[test]
fn the_demo_loses_no_request_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    demo(home.path(), &["--replicas", "3"]);
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_eq!(barge_testkit::instance_processes(home.path()), [0; 0], "processes are left behind");
}

#[tokio::test]
async fn on_a_cluster_it_loses_no_request_and_takes_back_what_it_has_brought() {
    let _turn = crate::kubernetes::turn().await;
    let Some(kubeconfig) = cluster::kubeconfig() else { return };
    let home = tempfile::tempdir().unwrap();
    // Nodes are told of a registry before it is there.
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let there = cluster::trusted_registry(port);
    let address = there.rsplit_once(':').unwrap().0;
    let (port, kubeconfig) = (port.to_string(), kubeconfig.display().to_string());
    let arguments = ["--kubernetes", "--registry-port", &port, "--address", address, "--kubeconfig", &kubeconfig];
    demo(home.path(), &arguments);
    let check = barge(home.path(), &["cluster", "check", "--kubeconfig", &kubeconfig]);
    let told = String::from_utf8_lossy(&check.stdout);
    assert!(!check.status.success() && told.contains("missing"), "something is still there:\n{told}");
}

fn barge(home: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(barge_binary())
        .args(arguments)
        .env("TMPDIR", home)
        .env("HOME", home)
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Every act, without a failed request.
fn demo(home: &Path, arguments: &[&str]) {
    let output = barge(home, &[&["demo", "--json"], arguments].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let from = out.rfind("\n{\n").map_or(0, |at| at + 1);
    // Words about the end may follow.
    let mut documents = serde_json::Deserializer::from_str(&out[from..]).into_iter::<serde_json::Value>();
    let document = documents.next().unwrap().unwrap_or_else(|e| panic!("{e}: {out}"));
    assert_eq!(document["failed"], 0);
    let phases = document["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 7, "{document}");
    assert!(phases.iter().all(|phase| phase["requests"].as_u64().unwrap() > 0), "{document}");
}

#[test]
fn the_demo_reads_as_a_story() {
    let home = tempfile::tempdir().unwrap();
    let output =
        Command::new(barge_binary()).args(["demo", "--replicas", "2"]).env("TMPDIR", home.path()).output().unwrap();
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    for expected in [
        "$ barge deploy --reason 'a better greeting'",
        "the first instance runs; the gate is closed",
        "$ barge approve --wait complete",
        "A very good day to you from greeter 2",
        "the setting \"greting_colour\" is unknown",
        "$ barge rollback --wait complete",
        "release 4 is complete",
        "slowest",
    ] {
        assert!(told.contains(expected), "{expected:?} is missing in:\n{told}");
    }
}
