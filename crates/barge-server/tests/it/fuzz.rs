//! Any bytes in the place of a body, any text in the place of a path or a query, for every operation of the document: whatever comes is
//! carried out as it was understood, or refused with a problem document and without a trace. Nothing fails inside.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use barge_api::{NewRelease, ReleaseView};
use barge_testkit::fuzz::{Damage, after, damages, fuzz_in};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Answer, Harness, SERVICE, operations};

/// So many cases are looked at in every run.
const CASES: u32 = 128;
/// What bodies are made of.
const WORDS: [&str; 14] = [
    "\"web\"",
    "\"rpc\"",
    "\"25%\"",
    "\"10m\"",
    "\"213503982334d\"",
    "10001",
    "\"sha256:\"",
    "{\"secret\":\"x\"}",
    "{\"size\":\"1%\",\"pause\":0}",
    "\"127.0.0.1:7401/greeter\"",
    "\"./greeter\"",
    "\"approved\"",
    "\"admin\"",
    "\"supersede\":true,",
];
/// Headers that say something about a body.
const HEADERS: [(&str, &str); 10] = [
    ("content-type", "Application/JSON; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", ""),
    ("content-encoding", "gzip"),
    ("idempotency-key", "k"),
    ("idempotency-key", ""),
    ("if-match", "*"),
    ("if-match", "\"3\""),
    ("if-match", "\"18446744073709551615\""),
    ("if-match", "W/\"many\""),
];
/// Texts in the place of a part of a path.
const PARTS: [&str; 16] = [
    "",
    "..",
    "%2e%2e",
    "%00",
    "%ff",
    "a%20b",
    "a%2fb",
    "UPPER",
    "-",
    "*",
    "0",
    "latest",
    "%E6%9D%8E",
    "01HF7YAT000000000000000000",
    "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
/// Queries.
const QUERIES: [&str; 16] = [
    "",
    "tail=0",
    "tail=-1",
    "tail=18446744073709551616",
    "tail=10001&follow=true",
    "tail=1&tail=2",
    "follow=maybe",
    "limit=0",
    "limit=99999999999",
    "limit=-1",
    "limit=%ff",
    "tail",
    "=",
    "&&",
    "%",
    "unknown=1",
];
/// Methods that an operation may not have.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "OPTIONS"];

type Checked = Result<(), TestCaseError>;

/// A server in which a release serves.
struct World {
    /// Gone before its runtime.
    harness: Option<Harness>,
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let harness = runtime.block_on(async {
            let harness = Harness::start().await;
            harness.released("a").await;
            harness
        });
        Self { harness: Some(harness), runtime }
    }

    fn block_on<T>(&self, ask: impl AsyncFnOnce(&Harness) -> T) -> T {
        self.runtime.block_on(ask(self.harness.as_ref().unwrap()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        drop(self.harness.take());
    }
}

/// No answer is a failure of the server's own, and every refusal is a problem document.
fn in_order(answer: &Answer) -> Checked {
    prop_assert!(answer.status < 500, "{} {}", answer.status, answer.text);
    if answer.status >= 400 {
        answer.problem();
    }
    Ok(())
}

/// The release on its way, else the one that serves.
fn present(status: &Value) -> &str {
    status["candidate"]["release"].as_str().or(status["stable"].as_str()).unwrap()
}

/// The document's example of a body, made to fit what there is.
fn fitting(example: &Value, letter: &str, release: &Value) -> Value {
    let mut body = example.clone();
    if let Some(fields) = body.as_object_mut() {
        if fields.contains_key("config") {
            fields.insert("digest".to_owned(), json!(format!("sha256:{}", letter.repeat(64))));
        } else if fields.contains_key("digest") {
            fields.insert("digest".to_owned(), release["digest"].clone());
        }
        if fields.remove("to").is_some() && letter == "a" {
            fields.insert("to".to_owned(), release["id"].clone());
        }
    }
    body
}

/// Posts a damaged body and looks at what has become of the service.
async fn post(
    harness: &Harness,
    (template, example): &(String, Value),
    letter: &str,
    damages: &[Damage],
    headers: &[(&'static str, &'static str)],
) -> Checked {
    let before = harness.status().await;
    let traces_before = traces(harness).await;
    let release = harness.get(&format!("{SERVICE}/releases/{}", present(&before))).await.json;
    let path = template.replace("{environment}", "test").replace("{service}", "greeter");
    let path = path.replace("{release}", present(&before));
    let bytes = after(fitting(example, letter, &release).to_string().as_bytes(), damages);
    let mut request = Request::post(&path)
        .header("authorization", format!("Bearer {}", harness.admin))
        .header("content-type", "application/json")
        .body(Body::from(bytes.clone()))
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    let answer = harness.send(request).await;
    in_order(&answer)?;
    let status = harness.status().await;
    if answer.status >= 400 {
        prop_assert_eq!(&status["version"], &before["version"], "what is refused changes nothing: {}", answer.text);
        prop_assert_eq!(traces(harness).await, traces_before, "what is refused leaves no trace: {}", answer.text);
        return Ok(());
    }
    if template.ends_with("/scale") {
        let sent: Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&status["replicas"], &sent["replicas"]);
    }
    if template.ends_with("/releases") {
        let sent: NewRelease = serde_json::from_slice(&bytes).unwrap();
        let made = answer.json["release"].as_str().unwrap();
        let shown = harness.get(&format!("{SERVICE}/releases/{made}")).await.json;
        let made: ReleaseView = serde_json::from_value(shown).unwrap();
        prop_assert_eq!(made.config, sent.config);
        prop_assert_eq!((made.image, made.digest, made.reason), (sent.image, sent.digest, sent.reason));
    }
    Ok(())
}

/// The newest record of the audit, and all tokens.
async fn traces(harness: &Harness) -> (Value, Value) {
    let audit = harness.get("/api/v1/audit?limit=1").await.json;
    (audit["entries"][0].clone(), harness.get("/api/v1/tokens").await.json)
}

/// Every operation that takes a body: its path, and the example that the document has for its body.
fn posts() -> Vec<(String, Value)> {
    let document = serde_json::to_value(barge_server::openapi()).unwrap();
    let with_example = |(_, path, operation): (String, String, Value)| {
        let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
        let schema = document.pointer(schema.trim_start_matches('#')).unwrap();
        assert!(schema["example"].is_object(), "{path} has no example of a body");
        Some((path, schema["example"].clone()))
    };
    operations().into_iter().filter_map(with_example).collect()
}

#[test]
fn no_bytes_in_the_place_of_a_body_do_any_harm() {
    let posts = posts();
    assert!(posts.len() >= 7, "every POST of the document has a body");
    let letter = prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    let headers = prop::collection::vec(prop::sample::select(HEADERS.to_vec()), 0..2);
    let case = (any::<Index>(), letter, damages(&WORDS), headers);
    fuzz_in(CASES, World::new, &case, |world, (which, letter, damages, headers)| {
        let operation = which.get(&posts);
        world.block_on(async |harness: &Harness| post(harness, operation, letter, &damages, &headers).await)
    });
}

/// Asks for a path whose parts are what they should be, or something else.
async fn ask(harness: &Harness, method: &str, template: &str, parts: &[Option<&str>], query: &str) -> Checked {
    let (release, instance) = (harness.posted_once().await, harness.instance().await);
    let right = [
        ("{environment}", "test"),
        ("{service}", "greeter"),
        ("{release}", &release),
        ("{instance}", &instance),
        ("{token}", "01HF7YAT000000000000000000"),
    ];
    let mut path = template.to_owned();
    for ((name, value), odd) in right.into_iter().zip(parts) {
        path = path.replace(name, odd.unwrap_or(value));
    }
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}?{query}"))
        .header("authorization", format!("Bearer {}", harness.admin));
    in_order(&harness.send(request.body(Body::empty()).unwrap()).await)
}

#[test]
fn no_text_in_the_place_of_a_path_or_a_query_does_any_harm() {
    let operations = operations();
    let part = prop_oneof![4 => Just(None::<&str>), 1 => prop::sample::select(PARTS.to_vec()).prop_map(Some)];
    let parts = prop::collection::vec(part, 5);
    let method = prop_oneof![6 => Just(None::<&str>), 1 => prop::sample::select(METHODS.to_vec()).prop_map(Some)];
    let case = (any::<Index>(), method, parts, prop::sample::select(QUERIES.to_vec()));
    fuzz_in(CASES, World::new, &case, |world, (which, method, parts, query)| {
        let (own, template, _) = which.get(&operations);
        let method = method.unwrap_or(own.as_str());
        world.block_on(async |harness: &Harness| ask(harness, method, template, &parts, query).await)
    });
}
