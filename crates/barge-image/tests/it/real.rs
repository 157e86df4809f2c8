//! Registries that are not ours: Debian's docker-registry, open, with passwords, with tokens, and over TLS.

use std::path::Path;

use barge_image::layer::digest;
use barge_image::registry::{Keychain, Places, Pushed, Registries, Settings, Whereabouts};
use barge_image::{Client, Image, Reference, RegistryError};
use barge_testkit::registry::{Asks, Authority, DockerRegistry, PASSWORD, TokenServer, USER};
use serde_json::json;

use crate::support::{anonymous, built, client_as, incompressible, small, tree};

/// The image as the registry has it, pulled and compared byte for byte.
pub(crate) async fn check_pulled(client: &Client, reference: &Reference, image: &Image) {
    let (manifest, _) = client.manifest(reference).await.unwrap();
    assert_eq!(manifest, image.manifest);
    let directory = tempfile::tempdir().unwrap();
    for blob in image.layers.iter().chain([&image.config]) {
        let path = directory.path().join("blob");
        client.blob_to_file(reference, &blob.digest, blob.size, &path).await.unwrap();
        assert_eq!(digest(&std::fs::read(&path).unwrap()), blob.digest);
    }
}

pub(crate) fn reference(host: &str, name: &str) -> Reference {
    format!("{host}/{name}").parse().unwrap()
}

/// A client that knows what Docker's file in `directory` says, and the certificates beside it.
pub(crate) fn docker_client(directory: &Path) -> Client {
    let places = Places {
        docker: Some(directory.join("config.json")),
        certificates: vec![directory.join("certs.d")],
        ..Places::default()
    };
    Client::with_settings(Settings::read(&places).unwrap())
}

fn configured(directory: &Path, document: &serde_json::Value) -> Client {
    std::fs::write(directory.join("config.json"), document.to_string()).unwrap();
    docker_client(directory)
}

#[tokio::test]
async fn an_open_registry_takes_an_image_once_and_mounts_what_another_repository_has() {
    let Some(registry) = DockerRegistry::start(Asks::Nobody) else { return };
    let directory = tempfile::tempdir().unwrap();
    let known = Whereabouts::new(Some(directory.path().to_owned()));
    let client = Client::with_settings(Settings { whereabouts: known, ..Settings::default() });
    let image = small(&incompressible(300_000)).await;
    let total = image.layers[0].size + image.config.size;
    let target = reference(&registry.host(), "group/app:1");
    let pushed = client.push(&image, &target, &|_| {}).await.unwrap();
    assert_eq!(pushed, Pushed { sent: total, present: 0 });
    check_pulled(&client, &target, &image).await;
    assert_eq!(client.push(&image, &target, &|_| {}).await.unwrap().sent, 0);
    // Another service with the same layer: only the small config is sent again.
    let other = reference(&registry.host(), "group/other:1");
    let pushed = client.push(&image, &other, &|_| {}).await.unwrap();
    assert_eq!(pushed, Pushed { sent: image.config.size, present: image.layers[0].size });
    check_pulled(&client, &other, &image).await;
    // Whoever knows nothing of that sends all of it.
    let third = reference(&registry.host(), "group/third:1");
    assert_eq!(anonymous().push(&image, &third, &|_| {}).await.unwrap().sent, total);
}

#[tokio::test]
async fn what_is_said_of_where_a_blob_is_may_be_wrong() {
    let Some(registry) = DockerRegistry::start(Asks::Nobody) else { return };
    let directory = tempfile::tempdir().unwrap();
    let image = small(&incompressible(300_000)).await;
    let place = directory.path().join(registry.host().replace(':', "_"));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join(&image.layers[0].digest[7..]), "group/that/is/gone").unwrap();
    let known = Whereabouts::new(Some(directory.path().to_owned()));
    let client = Client::with_settings(Settings { whereabouts: known, ..Settings::default() });
    let target = reference(&registry.host(), "app:1");
    assert_eq!(client.push(&image, &target, &|_| {}).await.unwrap().present, 0);
    check_pulled(&client, &target, &image).await;
}

#[tokio::test]
async fn a_robot_is_let_in_with_its_password_from_wherever_it_is_kept() {
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let host = registry.host();
    // The base 64 of name and password.
    let auth = "cm9ib3QkYmFyZ2UrY2k6cCR3OsO2";
    let entries = [
        json!({ "auths": { &host: { "auth": auth } } }),
        json!({ "auths": { format!("https://{host}/v1/"): { "auth": auth } } }),
        json!({ "auths": { &host: { "username": USER, "password": PASSWORD } } }),
        json!({ "auths": { &host: { "username": "wrong", "password": "1" }, format!("{host}/group"): { "auth": auth } } }),
    ];
    for (number, document) in entries.iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let client = configured(directory.path(), document);
        let target = reference(&host, "group/app:1");
        let image = small(&number.to_string()).await;
        client.push(&image, &target, &|_| {}).await.unwrap_or_else(|error| panic!("{document}: {error:?}"));
        check_pulled(&client, &target, &image).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let wrong = json!({ "auths": { &host: { "username": USER, "password": "wrong" } } });
    for client in [anonymous(), configured(directory.path(), &wrong), client_as(&host, USER, "wrong")] {
        let error = client.push(&small("no").await, &reference(&host, "group/app:1"), &|_| {}).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn podmans_file_counts_before_dockers_where_it_is_named_and_after_it_otherwise() {
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let host = registry.host();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, password: &str| {
        let path = directory.path().join(name);
        let document = json!({ "auths": { &host: { "username": USER, "password": password } } });
        std::fs::write(&path, document.to_string()).unwrap();
        path
    };
    let (right, wrong) = (file("right.json", PASSWORD), file("wrong.json", "wrong"));
    let missing = directory.path().join("missing.json");
    let image = small("hello").await;
    for (before, docker, after, expected) in [
        (Some(&right), &wrong, Some(&wrong), true),
        (None, &right, Some(&wrong), true),
        (Some(&missing), &missing, Some(&right), true),
        (None, &wrong, Some(&right), false),
        (Some(&wrong), &right, None, false),
    ] {
        let places = Places {
            before: before.into_iter().cloned().collect(),
            docker: Some(docker.clone()),
            after: after.into_iter().cloned().collect(),
            ..Places::default()
        };
        let client = Client::with_settings(Settings { keychain: Keychain::new(&places), ..Settings::default() });
        let pushed = client.push(&image, &reference(&host, "app:1"), &|_| {}).await;
        assert_eq!(pushed.is_ok(), expected, "{places:?}: {pushed:?}");
    }
}

#[tokio::test]
async fn a_token_server_is_asked_once_for_a_push_and_again_when_its_token_ends() {
    // An end that is not said is only found out by a refusal; tokens that end at once are fetched anew for each request.
    for (said, expected) in [(None, 1..=1), (Some(3600), 1..=1), (Some(0), 5..=50)] {
        let tokens = TokenServer::start(None, said).await;
        let Some(registry) = DockerRegistry::start(Asks::Token(&tokens)) else { return };
        let client = client_as(&registry.host(), USER, PASSWORD);
        let target = reference(&registry.host(), "group/app:1");
        let image = small(&incompressible(100_000)).await;
        client.push(&image, &target, &|_| {}).await.unwrap();
        let asked = tokens.asked();
        assert!(expected.contains(&asked.len()), "{said:?}: {asked:?}");
        assert!(asked.iter().all(|request| request.granted && request.method == "GET"), "{asked:?}");
        assert_eq!(asked[0].fields["scope"], "repository:group/app:pull,push");
        check_pulled(&client, &target, &image).await;
    }
}

#[tokio::test]
async fn an_identity_token_is_given_for_others_in_a_form() {
    let tokens = TokenServer::start(Some("an identity"), None).await;
    let Some(registry) = DockerRegistry::start(Asks::Token(&tokens)) else { return };
    let host = registry.host();
    let directory = tempfile::tempdir().unwrap();
    let target = reference(&host, "group/app:1");
    let image = small("hello").await;
    let entry = |token: &str| json!({ "auths": { &host: { "auth": "Og==", "identitytoken": token } } });
    let client = configured(directory.path(), &entry("an identity"));
    client.push(&image, &target, &|_| {}).await.unwrap();
    check_pulled(&client, &target, &image).await;
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].method.as_str(), asked[0].fields["grant_type"].as_str()), ("POST", "refresh_token"));
    assert_eq!(asked[0].fields["service"], "the registry");
    let error = configured(directory.path(), &entry("another")).push(&image, &target, &|_| {}).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
}

#[tokio::test]
async fn a_base_is_mounted_with_a_token_for_its_repository_too() {
    let tokens = TokenServer::start(None, None).await;
    let Some(registry) = DockerRegistry::start(Asks::Token(&tokens)) else { return };
    let host = registry.host();
    let client = client_as(&host, USER, PASSWORD);
    client.push(&small(&incompressible(100_000)).await, &reference(&host, "bases/jre:21"), &|_| {}).await.unwrap();
    let files = tree(&[("greeter*", "own")]);
    let image = built(files.path(), &format!("{host}/bases/jre:21"), Some(&client)).await;
    let pushed = client.push(&image, &reference(&host, "app:1"), &|_| {}).await.unwrap();
    assert_eq!(pushed.present, image.layers[0].size, "{:?}", tokens.asked());
    let both = "repository:app:pull,push repository:bases/jre:pull";
    assert!(tokens.asked().iter().any(|request| request.fields["scope"] == both), "{:?}", tokens.asked());
}

#[tokio::test]
async fn a_registry_with_an_authority_of_its_own_is_trusted_by_whoever_has_the_authoritys_certificate() {
    let authority = Authority::new();
    for known in [false, true] {
        let Some(registry) = DockerRegistry::with_tls(Asks::Nobody, &authority, known) else { return };
        let host = registry.host();
        let target = reference(&host, "app:1");
        let image = small("hello").await;
        let directory = tempfile::tempdir().unwrap();
        authority.install(&directory.path().join("certs.d"), &host, known);
        let client = docker_client(directory.path());
        client.push(&image, &target, &|_| {}).await.unwrap();
        check_pulled(&client, &target, &image).await;
        // Whoever has not got it, and only knows that it speaks TLS.
        let registries = Registries::parse(&format!("registries: {{'{host}': {{http: false}}}}")).unwrap();
        let stranger = Client::with_settings(Settings { registries, ..Settings::default() });
        let error = stranger.push(&image, &target, &|_| {}).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
        if known {
            let directory = tempfile::tempdir().unwrap();
            authority.install(&directory.path().join("certs.d"), &host, false);
            let nobody = docker_client(directory.path());
            let error = nobody.push(&image, &target, &|_| {}).await.unwrap_err();
            assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn damaged_certificates_are_told_with_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("certs.d/127.0.0.1:5000");
    std::fs::create_dir_all(&place).unwrap();
    let told = async |name: &str, content: &str| {
        std::fs::write(place.join(name), content).unwrap();
        let client = docker_client(directory.path());
        let error = client.manifest(&reference("127.0.0.1:5000", "app:1")).await.unwrap_err();
        std::fs::remove_file(place.join(name)).unwrap();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        source.unwrap_or_else(|| panic!("{error:?}"))
    };
    assert!(told("ca.crt", "").await.contains("ca.crt holds no certificate in PEM"));
    assert!(told("client.cert", "x").await.contains("client.cert has no key beside it"));
    std::fs::write(place.join("client.key"), "x").unwrap();
    assert!(told("client.cert", "x").await.contains("client.cert holds no certificate with its key in PEM"));
}

#[tokio::test]
async fn skopeo_takes_from_a_registry_what_we_have_put_there() {
    let Some(skopeo) = barge_testkit::tool("skopeo") else { return };
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let image = small("hello").await;
    let target = reference(&registry.host(), "group/app:1");
    client_as(&registry.host(), USER, PASSWORD).push(&image, &target, &|_| {}).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (format!("docker://{target}"), format!("oci:{}:1", directory.path().join("copy").display()));
    let known = format!("{USER}:{PASSWORD}");
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(&skopeo);
        let output = command.arg("--insecure-policy").args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let inspected = run(&["inspect", "--tls-verify=false", "--creds", &known, &from]).await;
    let inspected: serde_json::Value = serde_json::from_slice(&inspected).unwrap();
    assert_eq!(inspected["Digest"], json!(image.digest));
    run(&["copy", "--src-tls-verify=false", "--src-creds", &known, &from, &to]).await;
}
