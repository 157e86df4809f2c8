//! What is attached to an image: what it is made of, and from which commit.

use std::path::Path;
use std::process::Command;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::IntoResponse;
use barge_image::{Client, Credentials, Reference};
use serde_json::Value;

use crate::fake::Fake;
use crate::support::{Place, Run};

const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
const SPDX: &str = "application/spdx+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A project with a library, in a repository with one commit. None, said aloud, without git.
fn committed(place: &Place) -> Option<()> {
    barge_testkit::tool("git")?;
    place.write("dist/lib/words-1.0.jar", "no archive, but a library by its name");
    git(&place.project(), &["init", "--quiet"]);
    commit(place, "first");
    git(&place.project(), &["remote", "add", "origin", "https://user:secret@git.example/greeter.git"]);
    Some(())
}

fn commit(place: &Place, message: &str) {
    git(&place.project(), &["add", "."]);
    git(&place.project(), &["commit", "--quiet", "--allow-empty", "-m", message]);
}

fn git(directory: &Path, words: &[&str]) -> String {
    let settings = ["-c", "user.name=Test", "-c", "user.email=test@example", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").arg("-C").arg(directory).args(settings).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn built(run: &Run) -> Reference {
    run.ok().trim().parse().unwrap()
}

/// Another registry than the platform's, which everybody may use.
fn registry(directory: &Path) -> axum::Router {
    let storage = barge_registry::Storage::open(directory.to_owned(), 1 << 30).unwrap();
    let granted = std::sync::Arc::new(|_: &_, _: &barge_registry::Operation<'_>| barge_registry::Verdict::Granted);
    barge_registry::router(storage, granted)
}

/// The manifests of what is attached to an image, sorted by their kinds.
fn attached(image: &Reference) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let own = Credentials::Basic { username: "barge".to_owned(), password: "secret".to_owned() };
    let client = Client::new([(image.host.clone(), own)].into()).unwrap();
    let mut manifests: Vec<Value> = runtime.block_on(async {
        let mut manifests = Vec::new();
        for digest in client.referrers(image).await.unwrap() {
            let (bytes, _) = client.manifest(&image.with_digest(&digest)).await.unwrap();
            manifests.push(serde_json::from_slice(&bytes).unwrap());
        }
        manifests
    });
    manifests.sort_by_key(|manifest| manifest["artifactType"].as_str().unwrap().to_owned());
    manifests
}

fn kinds(image: &Reference) -> Vec<String> {
    attached(image).iter().map(|manifest| manifest["artifactType"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_image_is_the_same_from_each_commit_and_what_is_said_of_it_says_the_commit() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    let Some(()) = committed(&place) else { return };
    let image = built(&place.run("build"));
    let first = attached(&image);
    assert_eq!(kinds(&image), [SPDX, CYCLONEDX, IN_TOTO]);
    let annotations = &first[2]["annotations"];
    let revision = git(&place.project(), &["rev-parse", "HEAD"]);
    assert_eq!(annotations["org.opencontainers.image.revision"], revision);
    assert_eq!(annotations["org.opencontainers.image.source"], "https://git.example/greeter.git");
    assert_eq!(annotations["dev.barge.dirty"], "false");
    assert_eq!(first[0]["subject"]["digest"], image.version);

    let again = place.run("build");
    assert!(again.err.ends_with("pushed: the registry had it already\n"), "{}", again.told());
    assert_eq!((built(&again), attached(&image)), (image.clone(), first), "nothing is said twice");

    commit(&place, "changes nothing");
    place.write("README", "not in the image");
    assert_eq!(built(&place.run("build")), image, "a commit alone makes no other image");
    let said = attached(&image);
    assert_eq!(kinds(&image), [SPDX, CYCLONEDX, IN_TOTO, IN_TOTO]);
    let dirty: Vec<&str> =
        said[2..].iter().map(|one| one["annotations"]["dev.barge.dirty"].as_str().unwrap()).collect();
    assert!(dirty.contains(&"true") && dirty.contains(&"false"), "{dirty:?}");
}

#[test]
fn another_registry_is_told_as_much_although_all_of_it_was_written_before() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    let Some(()) = committed(&place) else { return };
    let image = built(&place.run("build"));
    let directory = tempfile::tempdir().unwrap();
    fake.use_registry(&fake.serve(registry(directory.path())));
    let there = built(&place.run("build"));
    assert!(there.host != image.host && there.version == image.version, "{image} {there}");
    assert_eq!(attached(&there), attached(&image));
    assert_eq!(kinds(&there), [SPDX, CYCLONEDX, IN_TOTO]);
}

#[test]
fn labels_are_for_those_who_want_them() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    let Some(()) = committed(&place) else { return };
    let digest = |settings: &str| {
        place.write("barge.yaml", &format!("name: greeter\nkind: web\nbuild: {{{settings}}}\n"));
        place.run("build --digest").ok().to_owned()
    };
    let (plain, none, labels) = (digest(""), digest("provenance: none"), digest("provenance: labels"));
    assert!(plain == none && plain != labels);
    commit(&place, "another");
    assert!(
        digest("") == plain && digest("provenance: labels") != labels,
        "with labels, each commit makes another image"
    );
}

#[test]
fn nothing_is_said_where_nobody_wants_it_or_there_is_nothing_to_say() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    assert!(attached(&built(&place.run("build"))).is_empty(), "neither libraries nor a repository");
    let Some(()) = committed(&place) else { return };
    for (settings, expected) in [
        ("sbom: none", vec![IN_TOTO]),
        ("provenance: none", vec![SPDX, CYCLONEDX]),
        ("sbom: none, provenance: none", vec![]),
    ] {
        place.write("dist/changed", settings);
        place.write("barge.yaml", &format!("name: greeter\nkind: web\nbuild: {{{settings}}}\n"));
        assert_eq!(kinds(&built(&place.run("build"))), expected, "{settings}");
    }
}

#[test]
fn what_an_image_is_made_of_can_be_written_down() {
    let place = Place::new();
    place.greeter();
    place.write("dist/lib/words-1.0.jar", "a library by its name");
    let document = |name: &str| -> Value {
        place.run(&format!("build --digest --sbom {name}")).ok();
        serde_json::from_slice(&std::fs::read(place.project().join(name)).unwrap()).unwrap()
    };
    let cyclonedx = document("shop.cdx.json");
    assert_eq!((&cyclonedx["bomFormat"], &cyclonedx["components"][0]["name"]), (&"CycloneDX".into(), &"words".into()));
    assert_eq!(document("shop.spdx.json")["packages"][1]["versionInfo"], "1.0");
    let nowhere = place.run("build --digest --sbom nowhere/shop.json");
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.err.contains("error: write nowhere/shop.json: No such file or directory"), "{}", nowhere.told());
}

#[test]
fn a_registry_that_takes_no_statements_is_no_reason_to_fail() {
    let fake = Fake::new();
    let place = Place::with(&fake);
    let Some(()) = committed(&place) else { return };
    let directory = tempfile::tempdir().unwrap();
    let refuse = async |request: Request, next: Next| {
        if request.uri().path().contains("/referrers/") {
            return (StatusCode::BAD_REQUEST, "none of this here").into_response();
        }
        next.run(request).await
    };
    let registry = fake.serve(registry(directory.path()).layer(axum::middleware::from_fn(refuse)));
    fake.use_registry(&registry);
    let run = place.run("build");
    built(&run);
    let expected = format!(
        "warning: the image is pushed without word of what it is made of and from which commit: attach documents to the image: \
         the registry {registry} answered 400"
    );
    assert!(run.err.contains(&expected), "{}", run.told());
    assert!(
        run.err.contains("none of this here; `build: {sbom: none, provenance: none}` in barge.yaml leaves that away")
    );
}
