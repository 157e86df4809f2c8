//! Releases back to back under the load of wrk: no request may fail. Against the real binary, on a real platform.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Stdio};

use barge_testkit::TestPlatform;

/// How long each load goes on.
const SPAN: &str = "30s";
/// The connections of each load.
const LOADS: [u32; 2] = [64, 1000];

fn main() {
    let platform = TestPlatform::start();
    let project = platform.greeter_project("greeter", "name: greeter\nkind: web\nreplicas: 4\n");
    let mut version = 0;
    release(&platform, &project, &mut version);
    println!("| connections, for {SPAN} | releases of 4 instances | requests | failed | p99 |");
    println!("| --- | --- | --- | --- | --- |");
    for connections in LOADS {
        let mut load = Command::new("wrk")
            .args(["--threads", "1", "--latency", "--duration", SPAN, "--connections", &connections.to_string()])
            .args(["--header", "Host: greeter.local.localhost", &format!("http://{}/", platform.gateway)])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut releases = 0;
        while load.try_wait().unwrap().is_none() {
            release(&platform, &project, &mut version);
            releases += 1;
        }
        let told = String::from_utf8(load.wait_with_output().unwrap().stdout).unwrap();
        let line = |what: &str| told.lines().find(|line| line.contains(what)).map(str::trim);
        let requests = line("requests in").and_then(|line| line.split(' ').next()).unwrap_or_else(|| panic!("{told}"));
        let p99 = line("99%").and_then(|line| line.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{told}"));
        let failed = line("Non-2xx").or_else(|| line("Socket errors")).unwrap_or("0");
        println!("| {connections} | {releases} | {requests} | {failed} | {p99} |");
        assert_eq!(failed, "0", "{told}");
    }
}

/// A new version on all instances.
fn release(platform: &TestPlatform, project: &Path, version: &mut u32) {
    *version += 1;
    std::fs::write(project.join("dist/greeter.conf"), format!("version={version}\ngreeting=Hello\n")).unwrap();
    platform.barge(project, &["deploy"]);
    platform.barge(project, &["approve", "--wait", "complete"]);
}
