//! `docs/api.md` is run, not only read: its commands take greeter through a whole release on a real platform.

use std::path::Path;
use std::process::{Command, Stdio};

use barge_testkit::{TestPlatform, tool};

use crate::support::greeter;

#[test]
fn the_pages_commands_do_what_it_says() {
    let (Some(_), Some(_)) = (tool("curl"), tool("jq")) else { return };
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")).unwrap();
    let blocks: Vec<&str> = page.split("\n```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert!(blocks.len() > 10, "the page has no commands any more");
    let platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    let built = platform.barge_json(&project, &["build"]);
    let digest = built["digest"].as_str().unwrap();
    let output = Command::new("sh")
        // Without pipefail: where the page shows a refusal, curl fails and jq judges what came.
        .args(["-eux", "-c", &blocks.join("\n")])
        .env("BARGE_SERVER", &platform.address)
        .env("BARGE_TOKEN", &platform.token)
        .env("DIGEST", digest)
        .env("IMAGE", built["reference"].as_str().unwrap().split('@').next().unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("Hello from greeter 1"), "the service answered: {out}");
}
