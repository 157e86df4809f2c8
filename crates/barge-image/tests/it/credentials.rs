//! Who we are, and to whom that is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use barge_image::{Credentials, RegistryError};
use barge_registry::{Operation, Storage, Verdict};

use crate::support::{Served, anonymous, built, client_as, listen, small, tree};

const USER: &str = "robot$barge+ci";
const PASSWORD: &str = "p$w:ö";

/// `robot$barge+ci:p$w:ö` in base 64.
const BASIC: &str = "Basic cm9ib3QkYmFyZ2UrY2k6cCR3OsO2";

fn only_us(headers: &HeaderMap, _: &Operation<'_>) -> Verdict {
    if headers.get("authorization").is_some_and(|value| value == BASIC) { Verdict::Granted } else { Verdict::Unknown }
}

#[tokio::test]
async fn a_robot_with_a_dollar_in_its_name_pushes_and_others_are_told_that_they_may_not() {
    let served = Served::with(only_us).await;
    let target = served.reference("app:1");
    let host = served.address.to_string();
    let image = small("hello").await;
    client_as(&host, USER, PASSWORD).push(&image, &target, &|_| {}).await.unwrap();
    for client in [anonymous(), client_as(&host, USER, "wrong"), client_as("127.0.0.1:1", USER, PASSWORD)] {
        let error = client.push(&image, &target, &|_| {}).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_registry_gets_its_credentials_however_its_name_is_written() {
    let served = Served::with(only_us).await;
    let port = served.address.port();
    for (content, name, known_as) in [("one", "LocalHost", "LocalHost"), ("two", "localhost", "LOCALHOST")] {
        let client = client_as(&format!("{known_as}:{port}"), USER, PASSWORD);
        let target = format!("{name}:{port}/app:1").parse().unwrap();
        let pushed = client.push(&small(content).await, &target, &|_| {}).await;
        pushed.unwrap_or_else(|error| panic!("{name}, known as {known_as}: {error:?}"));
    }
}

#[tokio::test]
async fn whoever_is_known_and_may_not_push_is_told_so() {
    let served = Served::with(|_, operation| match operation.kind {
        barge_registry::Kind::Read => Verdict::Granted,
        _ => Verdict::Denied,
    })
    .await;
    let error = anonymous().push(&small("hello").await, &served.reference("app:1"), &|_| {}).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
}

#[test]
fn a_password_is_never_printed() {
    let credentials = Credentials::Basic { username: USER.to_owned(), password: "hunter2".to_owned() };
    assert!(!format!("{credentials:?} {:?}", client_as("a", "b", "hunter2")).contains("hunter2"));
}

/// A registry that takes tokens of its own alone, each for so many requests.
#[derive(Clone)]
struct Tokens {
    /// Token requests: their query and who asked.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    /// Uses left of each token.
    left: Arc<Mutex<HashMap<String, u32>>>,
    uses: u32,
    scheme: &'static str,
}

async fn with_tokens(tokens: Tokens) -> SocketAddr {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.keep(), 1 << 20).unwrap();
    let router = barge_registry::router(storage, Arc::new(|_, _| Verdict::Granted))
        .layer(axum::middleware::from_fn_with_state(tokens.clone(), challenge));
    let token = move |request: Request| async move {
        let who = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut asked = tokens.asked.lock().unwrap();
        asked.push((query, who));
        let token = format!("t{}", asked.len());
        tokens.left.lock().unwrap().insert(format!("Bearer {token}"), tokens.uses);
        axum::Json(serde_json::json!({ "token": token }))
    };
    listen(Router::new().route("/token", axum::routing::get(token)).merge(router)).await
}

async fn challenge(State(tokens): State<Tokens>, request: Request, next: Next) -> Response {
    let given = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
    let good = match tokens.left.lock().unwrap().get_mut(given) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    if good {
        return next.run(request).await;
    }
    let host = request.headers()["host"].to_str().unwrap().to_owned();
    let challenge = format!(
        "{} realm=\"http://{host}/token\",service=\"the registry\",scope=\"repository:app:pull,push repository:base:pull\"",
        tokens.scheme
    );
    let headers = [("www-authenticate", "Basic realm=\"x\"".to_owned()), ("www-authenticate", challenge)];
    (StatusCode::UNAUTHORIZED, axum::response::AppendHeaders(headers)).into_response()
}

fn tokens(uses: u32, scheme: &'static str) -> Tokens {
    Tokens { asked: Arc::default(), left: Arc::default(), uses, scheme }
}

#[tokio::test]
async fn a_challenge_for_a_token_is_met_once_with_all_that_a_push_needs() {
    let tokens = tokens(1000, "Bearer");
    let address = with_tokens(tokens.clone()).await;
    let image = small("hello").await;
    let target = format!("{address}/app:1").parse().unwrap();
    client_as(&address.to_string(), USER, PASSWORD).push(&image, &target, &|_| {}).await.unwrap();
    let asked = tokens.asked.lock().unwrap().clone();
    let query = "scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Abase%3Apull&service=the+registry";
    assert_eq!(asked, [(query.to_owned(), BASIC.to_owned())]);
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_push_is_renewed() {
    for uses in [1, 2, 3] {
        let tokens = tokens(uses, "bearer");
        let address = with_tokens(tokens.clone()).await;
        // Large enough for a PUT to be refused while it is still being sent.
        let noise: String =
            (0..200_000u32).map(|n| char::from(b' ' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 90)).collect();
        let target = format!("{address}/app:1").parse().unwrap();
        let pushed = anonymous().push(&small(&noise).await, &target, &|_| {}).await;
        pushed.unwrap_or_else(|error| panic!("{uses}: {error:?}"));
        assert!(tokens.asked.lock().unwrap().len() > 1);
    }
}

/// A server that notes who asks it.
async fn stranger() -> (SocketAddr, Arc<Mutex<Vec<Option<String>>>>) {
    let seen: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let router = Router::new().fallback(move |headers: HeaderMap| async move {
        noted.lock().unwrap().push(headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()));
        (StatusCode::CREATED, "something")
    });
    (listen(router).await, seen)
}

#[tokio::test]
async fn credentials_are_sent_to_no_other_host() {
    let (other, seen) = stranger().await;
    let router = Router::new().fallback(move |request: Request| async move {
        let to = format!("http://{other}/elsewhere");
        match request.method().as_str() {
            "GET" => Redirect::temporary(&to).into_response(),
            "POST" => (StatusCode::ACCEPTED, [("location", to)]).into_response(),
            "PUT" => StatusCode::CREATED.into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    });
    let address = listen(router).await;
    let client = client_as(&address.to_string(), USER, PASSWORD);
    let reference = format!("{address}/app:1").parse().unwrap();
    let image = small("hello").await;
    // The blob store's answer has another digest; what matters is what it was told.
    assert!(client.blob(&reference, &image.layers[0].digest).await.is_err());
    client.push(&image, &reference, &|_| {}).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, [None, None, None]);
}

/// A registry where everybody reads the repository `base` and a token is needed for `app`, of which the token server gives none to whoever
/// asks for more than `most`. The storage is behind it.
async fn with_strict_tokens(most: &'static [&'static str]) -> (SocketAddr, Storage) {
    let storage = Storage::open(tempfile::tempdir().unwrap().keep(), 1 << 20).unwrap();
    let router = barge_registry::router(storage.clone(), Arc::new(|_, _| Verdict::Granted))
        .layer(axum::middleware::from_fn(wants_scopes));
    let token = move |request: Request| async move {
        let query = request.uri().query().unwrap_or_default();
        let url = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
        let pairs = url.query_pairs().filter(|(name, _)| name == "scope");
        let scopes: Vec<String> = pairs.map(|(_, scope)| scope.into_owned()).collect();
        match scopes.iter().all(|scope| most.contains(&scope.as_str())) {
            true => axum::Json(serde_json::json!({ "token": scopes.join("|") })).into_response(),
            false => StatusCode::FORBIDDEN.into_response(),
        }
    };
    (listen(Router::new().route("/token", axum::routing::get(token)).merge(router)).await, storage)
}

async fn wants_scopes(request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if reads && request.uri().path().starts_with("/v2/base/") {
        return next.run(request).await;
    }
    let mut wanted = vec![if reads { "repository:app:pull" } else { "repository:app:pull,push" }];
    if request.uri().query().is_some_and(|query| query.contains("mount=")) {
        wanted.push("repository:base:pull");
    }
    let given = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    let given: Vec<&str> = given.trim_start_matches("Bearer ").split('|').collect();
    if wanted.iter().all(|wanted| given.iter().any(|given| given.starts_with(wanted))) {
        return next.run(request).await;
    }
    let host = request.headers()["host"].to_str().unwrap();
    let challenge = format!("Bearer realm=\"http://{host}/token\",scope=\"{}\"", wanted.join(" "));
    (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
}

/// Pushes past what asks for tokens.
async fn put(storage: Storage, image: &barge_image::Image, name: &str) {
    let open = listen(barge_registry::router(storage, Arc::new(|_, _| Verdict::Granted))).await;
    anonymous().push(image, &format!("{open}/{name}").parse().unwrap(), &|_| {}).await.unwrap();
}

#[tokio::test]
async fn whoever_may_only_pull_pulls_where_the_token_server_gives_nothing_for_a_push() {
    let (address, storage) = with_strict_tokens(&["repository:app:pull"]).await;
    let image = small("hello").await;
    put(storage, &image, "app:1").await;
    let client = anonymous();
    let target = format!("{address}/app:1").parse().unwrap();
    let (manifest, _) = client.manifest(&target).await.unwrap();
    assert_eq!(manifest, image.manifest);
    client.blob(&target, &image.config.digest).await.unwrap();
    let error = client.push(&small("other").await, &target, &|_| {}).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
}

#[tokio::test]
async fn a_blob_that_may_not_be_mounted_is_sent() {
    let (address, storage) = with_strict_tokens(&["repository:app:pull,push"]).await;
    put(storage, &small("base").await, "base:1").await;
    let client = anonymous();
    let files = tree(&[("greeter*", "own")]);
    let image = built(files.path(), &format!("{address}/base:1"), Some(&client)).await;
    let target = format!("{address}/app:1").parse().unwrap();
    let pushed = client.push(&image, &target, &|_| {}).await.unwrap();
    assert!(pushed.sent >= image.layers.iter().map(|layer| layer.size).sum::<u64>(), "{pushed:?}");
    assert_eq!(client.manifest(&target).await.unwrap().0, image.manifest);
}

#[tokio::test]
async fn a_registry_on_this_machine_does_not_have_the_password_told_to_another_one_openly() {
    let router = Router::new().fallback(|| async {
        (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer realm=\"http://tokens.invalid/token\"")])
    });
    let address = listen(router).await;
    let client = client_as(&address.to_string(), USER, PASSWORD);
    let error = client.manifest(&format!("{address}/app:1").parse().unwrap()).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Plain { host } if host == "tokens.invalid"), "{error:?}");
}
