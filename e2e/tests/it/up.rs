//! `barge up` when something is in its way.

use std::process::Command;

use barge_testkit::{TestPlatform, barge_binary};

/// Runs `barge up`, which must fail; the result is what it said.
fn fails(arguments: &[&str]) -> String {
    let config = tempfile::tempdir().unwrap();
    let output = Command::new(barge_binary()).arg("up").args(arguments).env("BARGE_CONFIG", config.path()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let told = fails(&["--data", data, "--port", &port, "--registry-port", "0", "--gateway-port", "0"]);
    assert!(told.contains(&format!("port {port} for the API is taken by another program")), "{told}");
    assert!(told.contains("hint: ") && told.contains("--port 0"), "{told}");
}

#[test]
fn a_data_directory_that_is_in_use_is_named_with_its_owner() {
    let platform = TestPlatform::start();
    let data = platform.data();
    let told = fails(&["--data", data.to_str().unwrap(), "--any-port"]);
    assert!(told.contains("is in use by another Barge"), "{told}");
    assert!(told.contains(&format!("process {}", platform.pid())), "{told}");
}

#[test]
fn a_data_directory_of_a_later_version_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("format"), "99\n").unwrap();
    let told = fails(&["--data", data.path().to_str().unwrap(), "--any-port"]);
    assert!(told.contains("was written by a later version of Barge (format 99"), "{told}");
    let left: Vec<_> = std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing was made there but the lock: {left:?}");
}

#[test]
fn a_first_start_logs_in_and_a_second_one_keeps_the_token() {
    let home = tempfile::tempdir().unwrap();
    let start = || {
        let mut child = Command::new(barge_binary())
            .args(["up", "--any-port", "--json", "--data"])
            .arg(home.path().join("data"))
            .env("BARGE_CONFIG", home.path().join("config"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let who = Command::new(barge_binary())
            .args(["whoami", "--json"])
            .env("BARGE_CONFIG", home.path().join("config"))
            .env_remove("BARGE_SERVER")
            .env_remove("BARGE_TOKEN")
            .output()
            .unwrap();
        barge_testkit::signal("TERM", child.id());
        assert!(child.wait().unwrap().success(), "SIGTERM is a clean end");
        let who: serde_json::Value = serde_json::from_slice(&who.stdout).unwrap();
        assert_eq!(who["role"], "admin");
        std::fs::read_to_string(home.path().join("config/client.json")).unwrap()
    };
    assert_eq!(start(), start(), "address and token stay");
}
