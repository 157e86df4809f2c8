//! `barge.lock`: written by the first build, moved by `barge build --update`.

use barge_image::build::{BuildRequest, files};
use barge_image::image::Runtime;
use barge_image::{Client, Credentials, Reference};

use insta::assert_snapshot;

use crate::fake::Fake;
use crate::support::Place;

/// Pushes a base that holds `content`; the result is its digest.
fn push_base(host: &str, content: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("base"), content).unwrap();
    let credentials = Credentials::Basic { username: "somebody".to_owned(), password: "x".to_owned() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let layers = vec![files(directory.path(), &[]).unwrap()];
        let image = barge_image::build(BuildRequest::new(layers, "scratch", Runtime::default()), None).await.unwrap();
        let target: Reference = format!("{host}/bases/jre:21").parse().unwrap();
        let client = Client::new([(host.to_owned(), credentials)].into()).unwrap();
        client.push(&image, &target, &|_| {}).await.unwrap();
        image.digest
    })
}

fn short(digest: &str) -> &str {
    &digest[7..19]
}

#[test]
fn a_build_stays_on_the_base_that_it_began_on_until_it_is_told_to_move() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    let host = fake.address.trim_start_matches("http://").to_owned();
    let old = push_base(&host, "old");
    let base = format!("{host}/bases/jre:21");
    place.write("barge.yaml", &format!("name: greeter\nkind: web\nbuild: {{base: '{base}'}}\n"));
    let first = place.run("build");
    first.ok();
    assert!(first.err.contains(&format!("barge.lock pins {base} to {}", short(&old))), "{}", first.err);
    let path = place.project().join("barge.lock");
    let lock = std::fs::read_to_string(&path).unwrap();
    assert!(lock.ends_with(&format!("base:\n  reference: \"{base}\"\n  digest: {old}\n")), "{lock}");

    let new = push_base(&host, "new");
    let second = place.run("build");
    assert_eq!(second.ok(), first.ok());
    assert!(!second.err.contains("barge.lock"), "{}", second.err);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), lock);
    // The registry answers nobody without a login; what is pinned and was fetched needs no answer.
    let digest = place.run("build --digest");
    assert!(first.ok().trim().ends_with(digest.ok().trim()), "{}", digest.told());

    let moved = place.run("build --update");
    assert_ne!(moved.ok(), first.ok());
    let told = format!("barge.lock moves {base} from {} to {}", short(&old), short(&new));
    assert!(moved.err.contains(&told), "{}", moved.err);
    assert!(std::fs::read_to_string(&path).unwrap().contains(&new));

    std::fs::write(&path, "<<<<<<< HEAD\n").unwrap();
    let refused = place.run("build");
    assert_eq!(refused.code, 2, "{}", refused.told());
    assert!(refused.err.contains("is not a lock file of Barge") && refused.err.contains("hint: "), "{}", refused.err);
}

#[test]
fn an_environment_has_a_base_for_those_who_name_none() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    let host = fake.address.trim_start_matches("http://").to_owned();
    let base = push_base(&host, "jre");
    crate::java::boot(&place);
    place.write("barge.yaml", "name: shop\nkind: web\n");
    // On its own machine, the platform's Java runs it.
    let local = place.run("build --explain --json").json();
    assert_eq!((&local["base"], &local["base_of"]), (&"scratch".into(), &"nobody has chosen one".into()));
    let there = place.run("build --explain -e cluster --json").json();
    let name = format!("{host}/bases/jre:21");
    assert_eq!((&there["base"], &there["base_of"]), (&name.into(), &"the environment's choice".into()));
    place.run("build -e cluster --output oci:image").ok();
    let layers = std::fs::read_dir(place.project().join("image/blobs/sha256")).unwrap().count();
    place.run("build --output oci:local").ok();
    let own = std::fs::read_dir(place.project().join("local/blobs/sha256")).unwrap().count();
    assert_eq!(layers, own + 1, "the base {base} has one layer");
    // Whether it is pinned is the platform's business.
    assert!(!place.project().join("barge.lock").exists());
    assert_snapshot!(place.run("deploy -e bare").told(), @r"
    exit code 2
    --- stderr
    error: shop needs a Java runtime, and bare has no base image that brings it
    hint: name one in barge.yaml, `build: {base: registry.example/java:1}`, or for all projects in the server's configuration: docs/environments.md, `bases`
    ");
    assert_eq!(place.run("build -e nowhere --digest").code, 4);
}

#[test]
fn a_platform_that_is_none_is_refused_with_its_line() {
    let place = Place::new();
    place.greeter();
    place.write("barge.yaml", "name: greeter\nkind: web\nbuild:\n  platforms: [linux/amd64, windows]\n");
    let run = place.run("build --digest");
    assert_eq!(run.code, 2);
    assert!(
        run.err.contains("barge.yaml:4:") && run.err.contains("is not a platform such as linux/amd64"),
        "{}",
        run.err
    );
}
