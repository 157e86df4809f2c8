//! Who may do what: with files on this machine, with a token at the registry, and the platform itself where it may not write.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use barge_testkit::{TestGateway, TestPlatform, tool};
use serde_json::{Value, json};

use crate::faults::refused_to_start;
use crate::support::{answers, greeter, load_plan, release_first, wait_for};

/// What others may do with a file.
fn open_to_others(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o077
}

fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        visit(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, visit);
        }
    }
}

/// Looks at everything that holds a secret below a directory of ours, and at every socket; the result is their names.
fn closed_to_others(directory: &Path) -> Vec<String> {
    assert_eq!(open_to_others(directory), 0, "{} is open", directory.display());
    let mut seen = Vec::new();
    walk(directory, &mut |path| {
        // An instance comes and goes with its files.
        let Ok(meta) = std::fs::symlink_metadata(path) else { return };
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let open = meta.permissions().mode() & 0o077;
        // What is below a closed directory is closed.
        if path.parent() == Some(directory) && meta.is_dir() {
            assert_eq!(open, 0, "{} is open", path.display());
        }
        let named = [".token", ".log", ".json"].iter().any(|end| name.ends_with(end));
        let secret = named || name.contains("sqlite") || name.starts_with("output.log.");
        if meta.file_type().is_socket() || (secret && meta.is_file()) {
            assert_eq!(open, 0, "others may read {}", path.display());
            seen.push(name);
        }
    });
    seen
}

#[track_caller]
fn all_seen(seen: &[String], expected: &[&str]) {
    for expected in expected {
        assert!(seen.iter().any(|name| name == expected), "{expected} was not seen among {seen:?}");
    }
}

#[test]
fn what_is_secret_is_the_owners_alone() {
    let gateway = TestGateway::start();
    let platform = TestPlatform::start_behind(&gateway);
    let project = greeter(&platform, 1);
    release_first(&platform, &project);
    let files = ["admin.token", "server.sqlite", "output.log", "status.json", "instance.json", "init.sock"];
    all_seen(&closed_to_others(&platform.data()), &files);
    all_seen(&closed_to_others(&gateway.data()), &["gateway.token", "gateway.json", "ports.json"]);
}

#[test]
fn a_login_is_stored_for_its_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("config");
    let mut up = Command::new(barge_testkit::barge_binary());
    up.args(["up", "--any-port", "--json", "--data"]).arg(place.path().join("data")).env("BARGE_CONFIG", &config);
    let _running = Running(up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let login = config.join("client.json");
    wait_for("the login", || login.exists());
    assert_eq!(open_to_others(&login), 0, "others may read the login");
}

/// A platform that nobody else ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        barge_testkit::signal("TERM", self.0.id());
        let _ = self.0.wait();
    }
}

/// A call of an HTTP API on this machine; the result is the answer's status and its document, if it is one.
fn call(server: &str, token: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let host = server.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let document = answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
    (status.unwrap_or_else(|| panic!("no answer to {method} {path}: {answer:?}")), document.unwrap_or_default())
}

/// A token that the platform's administrator makes: its id and its secret.
fn token(platform: &TestPlatform, role: &str, service: Option<&str>) -> (String, String) {
    let wanted = json!({ "name": format!("{role} of {service:?}"), "role": role, "service": service }).to_string();
    let (status, made) = call(&platform.address, &platform.token, "POST", "/api/v1/tokens", &wanted);
    assert_eq!(status, 201, "{made}");
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

fn revoke(platform: &TestPlatform, id: &str) {
    let (status, answer) = call(&platform.address, &platform.token, "DELETE", &format!("/api/v1/tokens/{id}"), "");
    assert_eq!(status, 204, "{answer}");
}

#[test]
fn at_the_registry_a_token_is_worth_what_it_is_worth_at_the_server() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    let built = platform.barge_json(&project, &["build"]);
    let image = format!("/v2/greeter/manifests/{}", built["digest"].as_str().unwrap());
    let (_, viewer) = token(&platform, "viewer", None);
    let (_, stranger) = token(&platform, "developer", Some("other"));
    let (_, developer) = token(&platform, "developer", Some("greeter"));
    let (gone, revoked) = token(&platform, "admin", None);
    let status = |token: &str, method: &str, path: &str| call(&platform.registry, token, method, path, "").0;
    assert_eq!(status(&revoked, "GET", &image), 200, "it is valid until it is revoked");
    revoke(&platform, &gone);
    for (who, token, read, write, delete) in [
        ("a viewer", viewer.as_str(), 200, 403, 403),
        ("a developer of another service", stranger.as_str(), 403, 403, 403),
        ("a developer", developer.as_str(), 200, 202, 403),
        ("a revoked token", revoked.as_str(), 401, 401, 401),
        ("nobody", "nothing", 401, 401, 401),
        // The last one, because it is gone then.
        ("an administrator", platform.token.as_str(), 200, 202, 202),
    ] {
        assert_eq!(status(token, "GET", &image), read, "{who} reads");
        assert_eq!(status(token, "POST", "/v2/greeter/blobs/uploads/"), write, "{who} writes");
        assert_eq!(status(token, "DELETE", &image), delete, "{who} deletes");
    }
}

#[test]
fn a_push_with_a_token_that_may_not_is_refused_in_words() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    let (gone, revoked) = token(&platform, "developer", None);
    let build = |token: &str| {
        let output = platform.command(&project, &["build"]).env("BARGE_TOKEN", token).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (role, service) in [("viewer", None), ("viewer", Some("greeter")), ("developer", Some("other"))] {
        let (_, secret) = token(&platform, role, service);
        let (code, told) = build(&secret);
        assert_eq!(code, Some(4), "{role} of {service:?}: {told}");
        assert!(told.contains(&format!("the registry {} refuses access to ", platform.registry)), "{told}");
        assert!(told.contains("hint: `barge whoami` says what your token may do"), "{told}");
    }
    revoke(&platform, &gone);
    let (code, told) = build(&revoked);
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("a valid token is needed"), "{told}");
    let (_, developer) = token(&platform, "developer", Some("greeter"));
    let (code, told) = build(&developer);
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("the registry had it already"), "nobody before has brought anything: {told}");
}

/// A file that nobody may write, not even root, for as long as the value lives.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// `None`, said aloud, where that cannot be.
    fn of(path: &Path) -> Option<Self> {
        if std::fs::OpenOptions::new().write(true).open(path).is_ok() {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o400)).unwrap();
        }
        let file = Self(path.to_owned());
        if std::fs::OpenOptions::new().write(true).open(path).is_err() {
            return Some(file);
        }
        // Root may write whatever its mode is; a mount has the last word.
        let mount = tool("mount")?;
        let run = |words: &[&str]| Command::new(&mount).args(words).arg(path).output().unwrap().status.success();
        let shown = path.to_str().unwrap();
        if run(&["--bind", shown]) && run(&["-o", "remount,ro,bind"]) {
            return Some(file);
        }
        barge_testkit::skipped("nothing may be mounted here");
        None
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Where it was not mounted, it says so, which is no matter.
        let _ = Command::new("umount").arg(&self.0).stderr(Stdio::null()).status();
        let _ = std::fs::set_permissions(&self.0, PermissionsExt::from_mode(0o600));
    }
}

#[test]
fn a_database_that_may_not_be_written_is_named_and_nothing_that_serves_is_stopped() {
    let mut platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let before = platform.instance_processes();
    platform.kill();
    let database = platform.data().join("server.sqlite");
    let Some(closed) = ReadOnly::of(&database) else { return };
    let told = refused_to_start(&platform);
    assert!(told.contains("error: open the server's database: read and write the database file "), "{told}");
    assert!(told.contains("server.sqlite: "), "{told}");
    assert!(
        told.contains("hint: instances go on. ") && told.contains("`ls -l ") && !told.contains("mv "),
        "nobody has to begin anew: {told}"
    );
    assert_eq!(platform.instance_processes(), before, "nothing that serves was touched");
    drop(closed);
    platform.up();
    wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 2);
    assert_eq!(platform.instance_processes(), before);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
}
