//! `barge login` and `barge logout`, with Debian's docker-registry: what is tried, and where it is kept.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use barge_testkit::registry::{Asks, Authority, DockerRegistry, PASSWORD, USER};
use serde_json::{Value, json};

use crate::support::{Place, Run};

/// No wait in these tests is longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `barge login`, with the password on standard input.
fn login(place: &Place, registry: &str, password: &str, prepare: impl Fn(&mut Command)) -> Run {
    let mut command = place.command(&["login", registry, "--username", USER, "--password-stdin"]);
    prepare(&mut command);
    let file = place.write("password", &format!("{password}\n"));
    command.stdin(Stdio::from(std::fs::File::open(file).unwrap()));
    place.finish(&mut command)
}

fn nothing(_: &mut Command) {}

/// Docker's file of the place's user.
fn docker_file(place: &Place) -> std::path::PathBuf {
    place.config().parent().unwrap().join(".docker/config.json")
}

fn write_docker_file(place: &Place, document: &Value) {
    std::fs::create_dir_all(docker_file(place).parent().unwrap()).unwrap();
    std::fs::write(docker_file(place), document.to_string()).unwrap();
}

fn read_docker_file(place: &Place) -> Value {
    serde_json::from_slice(&std::fs::read(docker_file(place)).unwrap()).unwrap()
}

#[test]
fn what_the_registry_accepts_is_kept_and_forgotten_and_the_rest_of_the_file_stays() {
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let host = registry.host();
    let place = Place::new();
    let run = login(&place, &host, "wrong", nothing);
    assert_eq!(run.code, 4, "{}", run.told());
    assert!(run.err.contains("does not accept the name and the password"), "{}", run.err);
    assert!(run.err.contains("hint: nothing was stored"), "{}", run.err);
    assert!(!docker_file(&place).exists());
    let other = json!({ "auths": { "other.example": { "auth": "YTpi" } }, "HttpHeaders": { "a": "b" } });
    write_docker_file(&place, &other);
    let run = login(&place, &host, PASSWORD, nothing);
    assert!(run.ok().starts_with(&format!("logged in to {host} as {USER}\nkept in ")), "{}", run.told());
    assert!(!run.told().contains(PASSWORD));
    let mode = std::fs::metadata(docker_file(&place)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = read_docker_file(&place);
    assert_eq!(kept["HttpHeaders"], other["HttpHeaders"]);
    assert_eq!(kept["auths"]["other.example"], other["auths"]["other.example"]);
    assert_eq!(kept["auths"].as_object().unwrap().len(), 2, "{kept}");
    // Another time it takes the place of the first.
    login(&place, &host, PASSWORD, nothing).ok();
    assert_eq!(read_docker_file(&place), kept);
    assert!(place.run(&format!("logout {host}")).ok().starts_with(&format!("logged out of {host}")));
    assert_eq!(read_docker_file(&place), other);
    assert_eq!(place.run(&format!("logout {host}")).ok(), format!("there was no login to {host}\n"));
    let forgotten = place.run(&format!("logout {host} --json")).json();
    assert_eq!(forgotten, json!({ "registry": host, "forgotten": null, "names": [] }));
}

/// Keeps what it is given in a file for each registry, as helpers do.
const HELPER: &str = r#"#!/bin/sh
store="$HOME/helper"
mkdir -p "$store"
read -r input
case "$1" in
store) server=$(printf '%s' "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/'); printf '%s' "$input" > "$store/$server" ;;
get) if [ -f "$store/$input" ]; then cat "$store/$input"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm -f "$store/$input" ;;
esac
"#;

#[test]
fn a_credential_helper_keeps_the_login_and_is_asked_for_it() {
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let host = registry.host();
    let place = Place::new();
    place.program("helpers/docker-credential-test", HELPER);
    place.program("helpers/docker-credential-broken", "#!/bin/sh\necho the keyring is locked; exit 1\n");
    let path = format!("{}:/usr/bin:/bin", place.project().join("helpers").display());
    let with_helpers = |command: &mut Command| {
        command.env("PATH", &path);
    };
    for document in [json!({ "credsStore": "test" }), json!({ "credsStore": "none", "credHelpers": { &host: "test" } })]
    {
        write_docker_file(&place, &document);
        let run = login(&place, &host, PASSWORD, with_helpers);
        assert!(run.ok().contains("kept in docker-credential-test"), "{}", run.told());
        assert_eq!(read_docker_file(&place), document, "the file has no secret");
        // The registry is asked for a base with what the helper has kept; there is no such base.
        place.write("barge.yaml", &format!("name: greeter\nkind: web\nbuild: {{base: '{host}/nothing:1'}}\n"));
        place.program("dist/greeter", "#!/bin/sh\n");
        let mut build = place.command(&["build", "--digest"]);
        with_helpers(&mut build);
        let run = place.finish(&mut build);
        assert!(run.err.contains("answered 404"), "{}", run.told());
        let mut logout = place.command(&["logout", &host]);
        with_helpers(&mut logout);
        assert!(place.finish(&mut logout).ok().contains("docker-credential-test"));
        let mut build = place.command(&["build", "--digest"]);
        with_helpers(&mut build);
        let run = place.finish(&mut build);
        assert!(run.err.contains("refuses access"), "{}", run.told());
    }
    for (name, expected) in [
        ("broken", "the credential helper docker-credential-broken failed (exit status: 1): the keyring is locked"),
        ("missing", "start the credential helper docker-credential-missing"),
        ("../evil", "\"../evil\" cannot be the name of a credential helper"),
    ] {
        write_docker_file(&place, &json!({ "credsStore": name }));
        let run = login(&place, &host, PASSWORD, with_helpers);
        assert_eq!(run.code, 1, "{}", run.told());
        assert!(run.err.contains(expected), "{}", run.err);
    }
}

#[test]
fn a_login_that_cannot_be_is_told_why() {
    let place = Place::new();
    for (line, code, expected) in [
        ("login", 2, "REGISTRY"),
        ("login https://registry.example/", 2, "a registry is named by its host alone: registry.example"),
        ("login registry.example --password-stdin", 2, "--username"),
        ("login registry.example", 2, "there is no terminal to ask for the password on"),
        ("logout registry", 2, "not a host"),
    ] {
        let run = place.run(line);
        assert_eq!(run.code, code, "{line}: {}", run.told());
        assert!(run.err.contains(expected), "{line}: {}", run.err);
    }
    assert_eq!(login(&place, "127.0.0.1:1", "", nothing).code, 2);
    assert_eq!(login(&place, "127.0.0.1:1", PASSWORD, nothing).code, 5, "nobody is there");
    let Some(registry) = DockerRegistry::start(Asks::Nobody) else { return };
    let run = login(&place, &registry.host(), PASSWORD, nothing);
    run.ok();
    assert!(run.err.contains("lets everybody in, and did not look at the password"), "{}", run.err);
    std::fs::write(docker_file(&place), "{\"auths\": [").unwrap();
    let run = login(&place, &registry.host(), PASSWORD, nothing);
    assert!(run.err.contains(".docker/config.json is not a JSON document of credentials"), "{}", run.err);
    std::fs::create_dir_all(place.config()).unwrap();
    std::fs::write(place.config().join("registries.yaml"), "registries: {registry.example: {insecure: true}}\n")
        .unwrap();
    let run = login(&place, &registry.host(), PASSWORD, nothing);
    assert_eq!(run.code, 2, "{}", run.told());
    assert!(run.err.contains("CONFIG/registries.yaml: ") && run.err.contains("insecure"), "{}", run.err);
}

/// A proxy that leads every tunnel to one address, and notes what it was asked for.
fn proxy(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let text = String::from_utf8(head).unwrap();
            noted.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let server = TcpStream::connect(to).unwrap();
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut into));
            let (mut from, mut into) = (server, client);
            std::thread::spawn(move || std::io::copy(&mut from, &mut into));
        }
    });
    (address, asked)
}

#[test]
fn proxies_and_authorities_of_the_environment_are_heeded_and_this_machine_is_asked_directly() {
    let authority = Authority::new();
    let Some(registry) = DockerRegistry::with_tls(Asks::Password, &authority, false) else { return };
    let place = Place::new();
    let (address, asked) = proxy(registry.address);
    let over_proxy = |command: &mut Command| {
        command.env("HTTPS_PROXY", format!("http://{address}")).env("SSL_CERT_FILE", authority.file());
    };
    // There is no such machine: only the proxy knows where to go.
    login(&place, "registry.example", PASSWORD, over_proxy).ok();
    let tunnels = std::mem::take(&mut *asked.lock().unwrap());
    assert!(
        !tunnels.is_empty() && tunnels.iter().all(|line| line.starts_with("CONNECT registry.example:443 ")),
        "{tunnels:?}"
    );
    let run = login(&place, "registry.example", PASSWORD, |command| {
        command.env("HTTPS_PROXY", format!("http://{address}"));
    });
    assert_eq!(run.code, 5, "the authority is not known: {}", run.told());
    assert!(
        run.err.contains("hint: put the certificate of its authority into CONFIG/certs.d/registry.example/ca.crt"),
        "{}",
        run.err
    );
    asked.lock().unwrap().clear();
    let run = login(&place, "registry.example", PASSWORD, |command| {
        over_proxy(command);
        command.env("NO_PROXY", "registry.example");
    });
    assert_eq!(run.code, 5, "{}", run.told());
    // This machine itself, over TLS since there are certificates for it, and then without.
    authority.install(&place.config().join("certs.d"), &registry.host(), false);
    login(&place, &registry.host(), PASSWORD, |command| {
        over_proxy(command);
        command.env("ALL_PROXY", format!("http://{address}"));
    })
    .ok();
    let Some(plain) = DockerRegistry::start(Asks::Password) else { return };
    login(&place, &plain.host(), PASSWORD, |command| {
        command.env("HTTP_PROXY", format!("http://{address}")).env("ALL_PROXY", format!("http://{address}"));
    })
    .ok();
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn credentials_go_over_plain_http_only_where_that_is_said() {
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let place = Place::new();
    std::fs::create_dir_all(place.config()).unwrap();
    for (settings, code, expected) in [
        ("{}", 5, "reach the registry open.example:5000"),
        ("{http: true}", 4, "asks for credentials over plain HTTP, where everybody on the way can read them"),
        ("{http: true, credentials_over_http: true}", 0, ""),
    ] {
        let text = format!("registries: {{'open.example:5000': {settings}}}\n");
        std::fs::write(place.config().join("registries.yaml"), text).unwrap();
        // The registry is its own proxy: it does not mind being asked for itself by the whole address.
        let run = login(&place, "open.example:5000", PASSWORD, |command| {
            command.env("HTTP_PROXY", format!("http://{}", registry.address));
        });
        assert_eq!(run.code, code, "{settings}: {}", run.told());
        assert!(run.err.contains(expected), "{settings}: {}", run.err);
        assert!(
            code != 4 || run.err.contains("hint: allow it in CONFIG/registries.yaml: `registries: "),
            "{}",
            run.err
        );
    }
}

#[test]
fn a_password_that_is_typed_is_not_shown_and_the_terminal_is_as_before_afterwards() {
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let place = Place::new();
    let (mut pty, pts) = pty_process::blocking::open().unwrap();
    let before = format!("{:?}", rustix::termios::tcgetattr(&pty).unwrap());
    let barge = pty_process::blocking::Command::new(env!("CARGO_BIN_EXE_barge"))
        .args(["login", &registry.host()])
        .env("BARGE_CONFIG", place.config())
        .env("HOME", place.config().parent().unwrap())
        .env_remove("DOCKER_CONFIG")
        .env("NO_COLOR", "1");
    let mut child = barge.spawn(pts).unwrap();
    let mut seen = String::new();
    let mut until = |text: &str, pty: &mut pty_process::blocking::Pty| {
        let mut buffer = [0; 1024];
        while !seen.contains(text) {
            let count = pty.read(&mut buffer).unwrap_or_else(|error| panic!("{error}: {seen}"));
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        seen.clone()
    };
    until("name at ", &mut pty);
    pty.write_all(format!("{USER}\n").as_bytes()).unwrap();
    until("password or token of ", &mut pty);
    pty.write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let seen = until("kept in ", &mut pty);
    assert!(seen.contains(USER) && !seen.contains(PASSWORD), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{seen}");
    assert_eq!(format!("{:?}", rustix::termios::tcgetattr(&pty).unwrap()), before);
}

#[test]
fn a_password_is_whole_or_refused() {
    let place = Place::new();
    let run = login(&place, "127.0.0.1:1", &"x".repeat(64 * 1024), nothing);
    assert_eq!(run.code, 2, "{}", run.told());
    assert!(run.err.contains("standard input has more than 65536 bytes, which is no password"), "{}", run.err);
    assert!(run.err.contains("hint: nothing was stored"), "{}", run.err);
    let file = place.project().join("bytes");
    std::fs::write(&file, b"p\xffw").unwrap();
    let mut command = place.command(&["login", "127.0.0.1:1", "--username", USER, "--password-stdin"]);
    command.stdin(Stdio::from(std::fs::File::open(file).unwrap()));
    let run = place.finish(&mut command);
    assert_eq!(run.code, 2, "{}", run.told());
    assert!(run.err.contains("is not UTF-8"), "{}", run.err);
    // All that there may be gets as far as the registry, where nobody is.
    assert_eq!(login(&place, "127.0.0.1:1", &"x".repeat(64 * 1024 - 1), nothing).code, 5);
}

#[test]
fn ctrl_c_ends_a_login_that_waits_for_its_password() {
    let place = Place::new();
    // Which of the two is looked at first, the password or Ctrl-C, is not always the same.
    for _ in 0..6 {
        let mut command = place.command(&["login", "127.0.0.1:1", "--username", USER, "--password-stdin"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"x").unwrap();
        let begun = Instant::now();
        while rustix::io::ioctl_fionread(&input).unwrap() > 0 {
            assert!(begun.elapsed() < DEADLINE, "nobody reads the password");
            std::thread::yield_now();
        }
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > DEADLINE {
                child.kill().unwrap();
                panic!("it still waits for its password");
            }
            std::thread::yield_now();
        };
        assert!(!status.success() && begun.elapsed() < Duration::from_secs(3), "{status} after {:?}", begun.elapsed());
    }
}

#[test]
fn a_login_is_kept_where_it_is_looked_for_first() {
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let host = registry.host();
    let place = Place::new();
    let podman = place.project().join("auth.json");
    let with_podman = |command: &mut Command| {
        command.env("REGISTRY_AUTH_FILE", &podman);
    };
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        with_podman(&mut command);
        place.finish(&mut command)
    };
    // `a:b`, which the registry does not know.
    let old = json!({ "auths": { &host: { "auth": "YTpi" } } });
    std::fs::write(&podman, old.to_string()).unwrap();
    write_docker_file(&place, &old);
    let told = login(&place, &host, PASSWORD, with_podman);
    assert!(told.ok().ends_with("kept in PROJECT/auth.json\n"), "{}", told.told());
    assert_eq!(read_docker_file(&place), old);
    place.write("barge.yaml", &format!("name: greeter\nkind: web\nbuild: {{base: '{host}/nothing:1'}}\n"));
    place.program("dist/greeter", "#!/bin/sh\n");
    let build = run(&["build", "--digest"]);
    assert!(build.err.contains("answered 404"), "the registry knows who asks: {}", build.told());
    let logout = run(&["logout", &host]);
    assert!(logout.ok().contains("PROJECT/auth.json"), "{}", logout.told());
    let left = format!(".docker/config.json still has a login to {host}, which is used");
    assert!(logout.err.contains(&left), "{}", logout.err);
    // The other file is the one where there is no such variable.
    assert!(place.run(&format!("logout {host}")).ok().contains(".docker/config.json"));
    assert_eq!(run(&["logout", &host, "--json"]).json(), json!({ "registry": host, "forgotten": null, "names": [] }));
}

#[test]
fn logins_to_groups_of_a_registry_are_told_of_and_forgotten_with_it() {
    let place = Place::new();
    let entry = json!({ "auth": "YTpi" });
    let document = json!({ "auths": {
        "registry.example": entry, "https://registry.example/v1/": entry, "registry.example/group/app": entry,
        "registry.example:5000/group": entry, "other.example/registry.example": entry,
    } });
    write_docker_file(&place, &document);
    let run = place.run("logout registry.example");
    let names = "https://registry.example/v1/, registry.example, registry.example/group/app";
    assert!(run.ok().starts_with(&format!("logged out of {names} (")), "{}", run.told());
    assert_eq!(run.err, "");
    let left = json!({ "auths": { "registry.example:5000/group": entry, "other.example/registry.example": entry } });
    assert_eq!(read_docker_file(&place), left);
    assert_eq!(place.run("logout registry.example").ok(), "there was no login to registry.example\n");
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let group = format!("{}/group", registry.host());
    write_docker_file(&place, &json!({ "auths": { &group: entry } }));
    let run = login(&place, &registry.host(), PASSWORD, nothing);
    run.ok();
    assert!(
        run.err.contains(&format!("what is below {group} has a login of its own, which is as it was")),
        "{}",
        run.err
    );
}
