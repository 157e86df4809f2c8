//! A registry that does not do its part: what people are told, with which exit code, and that nothing is released.

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;

use crate::fake::Fake;
use crate::support::Place;

#[test]
fn a_registry_that_is_down_is_named_and_nothing_is_released() {
    let fake = Fake::with_greeter();
    // Nobody listens on this port of this address.
    fake.use_registry("127.9.9.9:1");
    let place = Place::with(&fake);
    for line in ["build", "deploy"] {
        let run = place.run(line);
        assert_eq!(run.code, 5, "{line}: {}", run.told());
        let expected = "error: push 127.9.9.9:1/greeter: reach the registry 127.9.9.9:1: ";
        assert!(run.err.contains(expected), "{line}: {}", run.err);
        assert!(run.err.ends_with("\nhint: `barge whoami` says whether the server answers\n"), "{line}: {}", run.err);
    }
    assert_eq!(place.run("deploy --json").json()["error"]["code"], "unreachable");
    assert!(fake.seen().is_empty(), "nothing was released");
}

/// A registry that has nothing, and answers so to whoever wants to bring something.
fn refusing(status: u16, message: &str) -> Router {
    let status = StatusCode::from_u16(status).unwrap();
    let body = serde_json::json!({ "errors": [{ "code": "NO", "message": message }] }).to_string();
    Router::new().fallback(move |method: Method| {
        let body = body.clone();
        async move {
            match method {
                Method::HEAD => StatusCode::NOT_FOUND.into_response(),
                _ => (status, body).into_response(),
            }
        }
    })
}

#[test]
fn a_registry_that_refuses_is_told_of_in_its_own_words() {
    for (status, code, expected, hint) in [
        (401, 4, "refuses access to an upload of sha256:", "hint: `barge whoami` says what your token may do"),
        (403, 4, "refuses access to an upload of sha256:", "hint: `barge whoami` says what your token may do"),
        (507, 1, "has no room for an upload of sha256:", ": no more of this"),
        (400, 1, "answered 400 to an upload of sha256:", ": no more of this"),
        (500, 1, "answered 500 to an upload of sha256:", ": no more of this"),
    ] {
        let fake = Fake::with_greeter();
        let registry = fake.serve(refusing(status, "no more of this"));
        fake.use_registry(&registry);
        let place = Place::with(&fake);
        for line in ["build", "deploy"] {
            let run = place.run(line);
            assert_eq!(run.code, code, "{status}, {line}: {}", run.told());
            let expected = format!("error: push {registry}/greeter: the registry {registry} {expected}");
            assert!(run.err.contains(&expected), "{status}, {line}: {}", run.err);
            assert!(run.err.contains(hint), "{status}, {line}: {}", run.err);
        }
        assert!(fake.seen().is_empty(), "{status}: nothing was released");
    }
}

#[test]
fn a_registry_that_sends_something_else_than_it_was_asked_for_is_not_believed() {
    let fake = Fake::with_greeter();
    let registry = fake.serve(Router::new().fallback(|| async { "{\"schemaVersion\":2}" }));
    let place = Place::with(&fake);
    let asked = format!("{registry}/bases/jre@sha256:{}", "0".repeat(64));
    place.write("barge.yaml", &format!("name: greeter\nkind: web\nbuild: {{path: dist, base: \"{asked}\"}}\n"));
    for line in ["build --digest", "deploy"] {
        let run = place.run(line);
        assert_eq!(run.code, 1, "{line}: {}", run.told());
        assert!(run.err.contains("error: build the image of greeter: "), "{line}: {}", run.err);
        assert!(run.err.contains("the registry sent something else than was asked for"), "{line}: {}", run.err);
    }
    assert!(fake.seen().is_empty(), "nothing was released");
}
