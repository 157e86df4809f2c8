//! `barge init` and `barge build`.

use insta::assert_snapshot;

use crate::fake::Fake;
use crate::support::{Place, names};

#[test]
fn init_writes_what_it_finds_and_never_overwrites() {
    let place = Place::new();
    place.program("dist/project", "#!/bin/sh\n");
    assert_snapshot!(place.run("init").told(), @r"
    exit code 0
    --- stdout
    wrote PROJECT/barge.yaml

      name: project
      kind: web
      # build: {path: dist}    # found
      # command: ./project    # found; run in /app
      # replicas: 2

    `barge deploy` releases it
    ");
    let written = std::fs::read_to_string(place.project().join("barge.yaml")).unwrap();
    assert_snapshot!(place.run("init -m other").told(), @r"
    exit code 1
    --- stderr
    error: PROJECT/barge.yaml is there already and stays as it is
    hint: `barge deploy` releases it; to begin anew, remove it first
    ");
    assert_eq!(std::fs::read_to_string(place.project().join("barge.yaml")).unwrap(), written);
    assert!(place.run("build --digest").ok().starts_with("sha256:"), "what init writes can be built");
}

#[test]
fn init_says_what_it_could_not_find() {
    let place = Place::new();
    let json = place.run("init -m checkout --kind rpc --json").json();
    assert_eq!((&json["name"], &json["kind"], &json["command"]), (&"checkout".into(), &"rpc".into(), &().into()));
    let run = place.run("build --digest");
    assert!(run.code == 2 && run.err.contains("holds no files"), "{}", run.told());
    place.write("data.txt", "x");
    assert_snapshot!(place.run("build --digest").told(), @r"
    exit code 2
    --- stderr
    error: nothing says how to start checkout: PROJECT holds no start.sh, no program named checkout, and not exactly one program or jar
    hint: add it to barge.yaml, such as `command: ./server --port $PORT`
    ");
}

#[test]
fn the_same_files_give_the_same_digest_in_two_places() {
    let digests: Vec<String> = (0..2)
        .map(|_| {
            let place = Place::new();
            place.greeter();
            let run = place.run("build --output oci:image");
            let digest = run.ok().trim().to_owned();
            assert_eq!(names(&place.project().join("image")), ["blobs", "index.json", "oci-layout"]);
            let index = std::fs::read_to_string(place.project().join("image/index.json")).unwrap();
            assert!(index.contains(&digest), "{index}");
            assert_eq!(place.run("build --digest").ok().trim(), digest, "only asking changes nothing");
            assert_eq!(place.run("build --output tar:image.tar --json").json()["digest"], digest.as_str());
            assert!(place.project().join("image.tar").metadata().unwrap().len() > 1024);
            digest
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_project_that_is_built_itself_keeps_its_secrets_out_of_the_image() {
    let digest = |secret: Option<&str>| {
        let place = Place::new();
        place.write("barge.yaml", "name: greeter\nkind: web\n");
        place.program("start.sh", "#!/bin/sh\n");
        if let Some(secret) = secret {
            place.write(".env", secret);
            place.write(".git/config", secret);
        }
        place.run("build --digest").ok().to_owned()
    };
    assert_eq!(digest(None), digest(Some("PASSWORD=x")));
}

#[test]
fn a_command_that_names_no_program_is_found_before_anything_starts() {
    let place = Place::new();
    place.program("dist/greeter", "#!/bin/sh\n");
    let check = |command: &str, expected: &str| {
        place.write("barge.yaml", &format!("name: greeter\nkind: web\ncommand: {command}\n"));
        let run = place.run("build --digest");
        assert_eq!(run.told(), expected, "{command}");
    };
    check(
        "./greter --fast",
        "exit code 2\n--- stderr\nerror: the command starts ./greter, which is not among the built files\n\
         hint: programs among them: ./greeter\n",
    );
    place.write("dist/notes", "x");
    check(
        "./notes",
        "exit code 2\n--- stderr\nerror: the command starts ./notes, which is not executable\nhint: `chmod +x notes`\n",
    );
}

#[test]
fn build_pushes_to_the_environments_registry_and_the_second_time_sends_nothing() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    let run = place.run("build --json");
    let first = run.json();
    check_events(&run.err, first["sent"].as_u64().unwrap());
    let host = fake.address.trim_start_matches("http://");
    let reference = first["reference"].as_str().unwrap();
    assert!(reference.starts_with(&format!("{host}/greeter@sha256:")), "{reference}");
    assert!(first["sent"].as_u64().unwrap() > 0);
    let second = place.run("build");
    assert_eq!(second.ok().trim(), reference);
    assert!(second.err.ends_with("pushed: the registry had it already\n"), "{}", second.err);
    assert_eq!(place.run("build --quiet").err, "");
}

#[test]
fn it_works_in_a_directory_below_the_project() {
    let place = Place::new();
    place.greeter();
    let digest = place.run("build --digest").ok().to_owned();
    let below = place.project().join("dist");
    let run = place.finish(place.command(&["build", "--digest"]).current_dir(below));
    assert_eq!(run.ok(), digest);
    let run = place.finish(place.command(&["build", "--digest", "project"]).current_dir(place.project().join("..")));
    assert_eq!(run.ok(), digest);
}

#[test]
fn a_huge_barge_yaml_is_refused_by_its_size_and_not_read() {
    let place = Place::new();
    place.greeter();
    let file = std::fs::File::options().write(true).open(place.project().join("barge.yaml")).unwrap();
    // All holes: more than any memory, and nothing on the disk.
    file.set_len(1 << 40).unwrap();
    let run = place.run("build --digest");
    assert_eq!(run.code, 2, "{}", run.told());
    assert!(run.err.contains("has 1099511627776 bytes; at most 262144 are read"), "{}", run.told());
}

/// Programs are told of each part of a push, one event in a line, beside the result on standard output.
fn check_events(err: &str, sent: u64) {
    let events: Vec<serde_json::Value> =
        err.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |step: &str| events.iter().filter(|event| event["step"] == step).collect::<Vec<_>>();
    let (planned, done) = (of("planned"), of("sent"));
    assert!(planned.len() > 1 && planned.len() == done.len() + of("present").len() + of("mounted").len(), "{err}");
    assert_eq!(done.iter().map(|event| event["size"].as_u64().unwrap()).sum::<u64>(), sent, "{err}");
    let last = events.last().unwrap();
    assert_eq!((last["event"].as_str(), last["total_sent"].as_u64()), (Some("blob"), Some(sent)), "{err}");
}
