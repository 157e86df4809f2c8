//! A proxy that makes trouble, before Debian's docker-registry and before ours.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use barge_image::registry::{Registries, Settings, Step};
use barge_image::{Client, Image, Reference, RegistryError};
use barge_testkit::registry::{
    Asks, Authority, DockerRegistry, Fault, FaultProxy, PASSWORD, TokenServer, Trouble, USER,
};

use crate::real::{check_pulled, docker_client, reference};
use crate::support::{DEADLINE, Served, anonymous, client_as, incompressible, small};

/// A registry of each kind. What runs is ended with it.
enum Real {
    Docker(DockerRegistry),
    Ours(Served),
}

impl Real {
    async fn each() -> Vec<Self> {
        let docker = DockerRegistry::start(Asks::Nobody).map(Real::Docker);
        docker.into_iter().chain([Real::Ours(Served::start().await)]).collect()
    }

    fn address(&self) -> SocketAddr {
        match self {
            Real::Docker(registry) => registry.address,
            Real::Ours(served) => served.address,
        }
    }
}

async fn pushed(
    client: &Client,
    image: &Image,
    target: &Reference,
) -> Result<barge_image::registry::Pushed, RegistryError> {
    tokio::time::timeout(DEADLINE, client.push(image, target, &|_| {})).await.expect("the push did not end")
}

#[tokio::test]
async fn a_push_comes_through_whatever_passes() {
    let kinds = [Trouble::Answer(500, vec![]), Trouble::Answer(503, vec![]), Trouble::Drop, Trouble::LoseReply];
    let places = [
        ("HEAD", "/blobs/"),
        ("POST", "/blobs/uploads/"),
        ("PUT", "/blobs/uploads/"),
        ("PUT", "/manifests/sha256:"),
        ("PUT", "/manifests/1"),
    ];
    for real in Real::each().await {
        let image = small(&incompressible(200_000)).await;
        let pushes = kinds.iter().enumerate().flat_map(|(number, trouble)| {
            places
                .iter()
                .enumerate()
                .map(move |(place, (method, contains))| (number, place, trouble, *method, *contains))
        });
        for (number, place, trouble, method, contains) in pushes {
            let proxy = FaultProxy::before(real.address()).await;
            proxy.fail(method, contains, 1, trouble.clone());
            let target = reference(&proxy.host(), &format!("app{number}{place}:1"));
            let result = pushed(&anonymous(), &image, &target).await;
            result.unwrap_or_else(|error| panic!("{method} {contains} {trouble:?}: {error:?}"));
            check_pulled(
                &anonymous(),
                &reference(&real.address().to_string(), &format!("app{number}{place}:1")),
                &image,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn after_a_lost_reply_the_registry_is_asked_before_anything_is_sent_again() {
    for real in Real::each().await {
        let proxy = FaultProxy::before(real.address()).await;
        proxy.fail("PUT", "/blobs/uploads/", 2, Trouble::LoseReply);
        let image = small("hello").await;
        pushed(&anonymous(), &image, &reference(&proxy.host(), "app:1")).await.unwrap();
        // One each for the layer and the config, of which neither is sent a second time.
        assert_eq!(proxy.count("PUT /v2/app/blobs/uploads/"), 2);
    }
}

#[tokio::test]
async fn a_pull_comes_through_whatever_passes_and_takes_nothing_wrong() {
    for real in Real::each().await {
        let image = small(&incompressible(200_000)).await;
        pushed(&anonymous(), &image, &reference(&real.address().to_string(), "app:1")).await.unwrap();
        for trouble in [
            Trouble::Answer(502, vec![]),
            Trouble::Drop,
            Trouble::Truncate(1000),
            Trouble::Truncate(0),
            Trouble::Slow(Duration::from_millis(300)),
        ] {
            let proxy = FaultProxy::before(real.address()).await;
            proxy.fail("GET", "/blobs/sha256:", 2, trouble);
            check_pulled(&anonymous(), &reference(&proxy.host(), "app:1"), &image).await;
        }
        let proxy = FaultProxy::before(real.address()).await;
        proxy.fail("GET", "sha256:", 10, Trouble::Corrupt);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layer");
        let target = reference(&proxy.host(), "app:1");
        let error =
            anonymous().blob_to_file(&target, &image.layers[0].digest, image.layers[0].size, &path).await.unwrap_err();
        assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_registry_that_is_asked_too_often_gets_the_pause_that_it_asks_for() {
    for (method, contains) in [("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/manifests/")] {
        let served = Served::start().await;
        let proxy = FaultProxy::before(served.address).await;
        let later = Trouble::Answer(429, vec![("retry-after", "1".to_owned())]);
        proxy.fail(method, contains, 1, later);
        let begin = Instant::now();
        pushed(&anonymous(), &small("hello").await, &reference(&proxy.host(), "app:1")).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_secs(1), "{method} {contains} came again too soon");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_in_the_middle_of_a_push_is_renewed() {
    let tokens = TokenServer::start(None, None).await;
    let Some(registry) = DockerRegistry::start(Asks::Token(&tokens)) else { return };
    let image = small(&incompressible(200_000)).await;
    let before = FaultProxy::before(registry.address).await;
    let client = client_as(&before.host(), USER, PASSWORD);
    // Tells with which words the registry asks for a token.
    let challenge = {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(format!("http://{}/v2/", registry.host())).send().await.unwrap();
        answer.headers()["www-authenticate"].to_str().unwrap().to_owned()
    };
    for (number, (method, contains)) in
        [("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/"), ("HEAD", "/blobs/")]
            .into_iter()
            .enumerate()
    {
        let refusal = Trouble::Answer(401, vec![("www-authenticate", challenge.clone())]);
        // The first is asked without a token in any case.
        before.fail_later(Fault { method, contains, after: 0, times: 1, trouble: refusal });
        let target = reference(&before.host(), &format!("app{number}:1"));
        pushed(&client, &image, &target).await.unwrap_or_else(|error| panic!("{method} {contains}: {error:?}"));
        check_pulled(&client, &target, &image).await;
    }
    // One for each repository, and another one after each refusal.
    assert_eq!(tokens.asked().len(), 8, "{:?}", tokens.asked());
}

#[tokio::test]
async fn a_registry_that_does_not_know_of_the_tls_before_it_is_pushed_to_all_the_same() {
    // docker-registry gives whole addresses, and with http:// if nobody tells it otherwise.
    let Some(registry) = DockerRegistry::start(Asks::Nobody) else { return };
    let authority = Authority::new();
    let proxy = FaultProxy::with_tls(registry.address, &authority).await;
    let directory = tempfile::tempdir().unwrap();
    authority.install(&directory.path().join("certs.d"), &proxy.host(), false);
    let client = docker_client(directory.path());
    let image = small("hello").await;
    let target = reference(&proxy.host(), "app:1");
    pushed(&client, &image, &target).await.unwrap();
    check_pulled(&client, &target, &image).await;
}

#[tokio::test]
async fn a_blob_is_fetched_from_another_host_which_is_told_nothing() {
    let Some(registry) = DockerRegistry::start(Asks::Password) else { return };
    let served = Served::start().await;
    let image = small("hello").await;
    pushed(&anonymous(), &image, &reference(&served.address.to_string(), "app:1")).await.unwrap();
    let storage = FaultProxy::before(served.address).await;
    let front = FaultProxy::before(registry.address).await;
    let client = client_as(&front.host(), USER, PASSWORD);
    let layer = &image.layers[0].digest;
    let to = format!("http://{}/v2/app/blobs/{layer}?signature=x%2Fy", storage.address);
    front.fail("GET", "/blobs/", 10, Trouble::Answer(307, vec![("location", to)]));
    let bytes = client.blob(&reference(&front.host(), "app:1"), layer).await.unwrap();
    assert_eq!(bytes.len() as u64, image.layers[0].size);
    let (asked, told) = (front.seen(), storage.seen());
    assert!(asked[0].authorization.is_some(), "{asked:?}");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].authorization, None);
    assert!(told[0].line.ends_with("?signature=x%2Fy"), "{told:?}");
}

#[tokio::test]
async fn redirects_in_a_circle_and_to_open_networks_are_not_followed() {
    let served = Served::start().await;
    let proxy = FaultProxy::before(served.address).await;
    let target = reference(&proxy.host(), "app:1");
    proxy.fail("GET", "/blobs/", 100, Trouble::Answer(302, vec![("location", "/v2/app/blobs/again".to_owned())]));
    let error = anonymous().blob(&target, "sha256:0").await.unwrap_err();
    assert!(error.to_string().contains("more than 5 times"), "{error}");
    let open = Trouble::Answer(302, vec![("location", "http://storage.example/x".to_owned())]);
    proxy.fail("GET", "/manifests/", 100, open);
    let error = anonymous().manifest(&target).await.unwrap_err();
    assert!(error.to_string().contains("sends us to storage.example over plain HTTP"), "{error}");
}

#[tokio::test]
async fn a_blob_that_is_too_large_for_something_on_the_way_is_sent_in_pieces() {
    for real in Real::each().await {
        let proxy = FaultProxy::before(real.address()).await;
        // Pieces of the first size, 8 MiB, are still too large.
        let image = small(&incompressible(18 << 20)).await;
        assert!(image.layers[0].size > 8 << 20);
        proxy.limit(1 << 20);
        let client = anonymous();
        let target = reference(&proxy.host(), "app:1");
        let told = std::sync::Mutex::new(Vec::new());
        client.push(&image, &target, &|progress| told.lock().unwrap().push(progress)).await.unwrap();
        // One that was too large, and one for each MiB that was begun; what is small goes in one request as ever.
        let pieces = image.layers[0].size.div_ceil(1 << 20);
        assert_eq!(proxy.count("PATCH ") as u64, 1 + pieces, "{:?}", proxy.seen());
        check_pulled(&anonymous(), &reference(&real.address().to_string(), "app:1"), &image).await;
        let told = told.into_inner().unwrap();
        let layer = &image.layers[0];
        let most = told.iter().filter(|progress| progress.digest == layer.digest);
        let most = most.filter_map(|progress| match progress.step {
            Step::Moved { bytes } => Some(bytes),
            _ => None,
        });
        assert_eq!(most.max(), Some(layer.size));
        // What was learned holds for the next image.
        let before = proxy.seen().len();
        pushed(&client, &small(&incompressible(2 << 20)).await, &target).await.unwrap();
        assert!(proxy.seen()[before..].iter().any(|seen| seen.line.starts_with("PATCH ")));
    }
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_passed_over_when_it_fails() {
    let (origin, mirror) = (Served::start().await, Served::start().await);
    let image = small("hello").await;
    let name = |host: SocketAddr, name: &str| reference(&host.to_string(), name);
    pushed(&anonymous(), &image, &name(origin.address, "group/app:1")).await.unwrap();
    pushed(&anonymous(), &image, &name(mirror.address, "copies/group/app:1")).await.unwrap();
    let gone = FaultProxy::before(mirror.address).await;
    gone.fail("GET", "/", 100, Trouble::Drop);
    let told = |mirrors: &str| {
        let text = format!("registries: {{'{}': {{mirrors: [{mirrors}]}}}}", origin.address);
        let registries = Registries::parse(&text).unwrap();
        Client::with_settings(Settings { registries, ..Settings::default() })
    };
    let target = name(origin.address, "group/app:1");
    for (mirrors, from_mirror) in [
        (format!("'{}/copies'", mirror.address), true),
        (format!("'{}/nothing/here'", mirror.address), false),
        (format!("'{}/copies', '{}/copies'", gone.address, mirror.address), true),
        (format!("'{}/copies'", gone.address), false),
    ] {
        origin.asked();
        check_pulled(&told(&mirrors), &target, &image).await;
        assert_eq!(origin.asked().is_empty(), from_mirror, "{mirrors}");
    }
    // A mirror that cannot be reached costs its tries once for each client, and not with every blob.
    assert!(gone.count("GET ") <= 6, "{:?}", gone.seen());
}

/// nginx before a registry, with its own limit of what it takes at once, 1 MiB; ended when it is dropped.
struct Nginx {
    address: SocketAddr,
    child: std::process::Child,
    _directory: tempfile::TempDir,
}

impl Nginx {
    async fn before(registry: SocketAddr) -> Option<Self> {
        let program = barge_testkit::tool("nginx")?;
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().display();
        // It cannot be told to take any port, and nobody else takes one that was just free.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
             fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
             server {{ listen {address}; location / {{ proxy_pass http://{registry}; proxy_set_header Host $http_host; }} }} }}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(program);
        command.arg("-c").arg(file).arg("-e").arg(directory.path().join("error"));
        let child = command.spawn().unwrap();
        let nginx = Self { address, child, _directory: directory };
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(begin.elapsed() < DEADLINE, "nginx does not listen");
            tokio::task::yield_now().await;
        }
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_a_large_blob_while_it_is_still_sent_gets_pieces() {
    let Some(registry) = DockerRegistry::start(Asks::Nobody) else { return };
    let Some(nginx) = Nginx::before(registry.address).await else { return };
    let image = small(&incompressible(5 << 20)).await;
    assert!(image.layers[0].size > 2 << 20, "the layer is too small for nginx to mind");
    let target = reference(&nginx.address.to_string(), "app:1");
    pushed(&anonymous(), &image, &target).await.unwrap();
    check_pulled(&anonymous(), &reference(&registry.host(), "app:1"), &image).await;
}
