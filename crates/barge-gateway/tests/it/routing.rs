//! Which request goes to which service, and what is said where that cannot be.

use barge_gateway::{GatewayConfig, PutState, Table};
use http::Request;
use http_body_util::Full;

use crate::support::{Instance, Rig, address, answered, ask, key, put, uid};

/// Headers of the request, and the expected status and text.
type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);

async fn status(rig: &Rig, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::builder().uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = answered(ask(rig.address, request.body(Full::default()).unwrap()).await).await;
    if answer.status.is_success() {
        return (answer.status.as_u16(), answer.text);
    }
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let document: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(document["status"], answer.status.as_u16());
    (answer.status.as_u16(), document["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_request_is_routed_by_host_or_by_headers_and_mistakes_are_told_in_words() {
    let rig = Rig::start().await;
    let instance = Instance::named("hello").await;
    rig.online(1, instance.address);
    let id = uid(1).to_string();
    let other = uid(2).to_string();
    let not_online = format!("instance {other} of test/greeter is not online");
    let by_header = [("host", "127.0.0.1:8080"), ("barge-service", "greeter"), ("barge-environment", "test")];
    let below = [("host", "any.localhost"), ("barge-service", "greeter"), ("barge-environment", "test")];
    let rebound = [("host", "evil.example:8080"), ("barge-service", "greeter"), ("barge-environment", "test")];
    let foreign = "with a barge-service header the host must be a name of this machine, such as localhost, \
                   and not \"evil.example:8080\"";
    let cases: &[Case<'_>] = &[
        (&[("host", "greeter.test.localhost")], 200, "hello"),
        (&[("host", "Greeter.TEST.localhost:8080")], 200, "hello"),
        (&[("host", "greeter.test.localhost.")], 200, "hello"),
        (&by_header, 200, "hello"),
        (&below, 200, "hello"),
        (&rebound, 400, foreign),
        (&[("host", "greeter.test.localhost"), ("barge-instance", &id)], 200, "hello"),
        (&[("host", "greeter.test.localhost"), ("barge-instance", &other)], 503, &not_online),
        (&[("host", "greeter.uat.localhost")], 503, "no instance of uat/greeter is registered"),
        (&[("host", "greeter.localhost")], 400, "the host \"greeter.localhost\" is not SERVICE.ENVIRONMENT.localhost"),
        (&[("host", "a.b.c.localhost")], 400, "the host \"a.b.c.localhost\" is not SERVICE.ENVIRONMENT.localhost"),
        (&[("host", "127.0.0.1:80")], 400, "the host \"127.0.0.1:80\" is not SERVICE.ENVIRONMENT.localhost"),
        (&[("host", "localhost"), ("barge-service", "Greeter")], 400, "the header barge-service is not a valid name"),
        (
            &[("host", "localhost"), ("barge-service", "greeter")],
            400,
            "the header barge-environment is not a valid name",
        ),
        (
            &[("host", "greeter.test.localhost"), ("barge-instance", "one")],
            400,
            "the header barge-instance is not a valid name",
        ),
    ];
    for (headers, code, text) in cases {
        assert_eq!(status(&rig, headers).await, (*code, (*text).to_owned()), "{headers:?}");
    }
}

#[tokio::test]
async fn a_domain_of_its_own_takes_the_place_of_localhost() {
    let config = GatewayConfig { domain: "apps.example".to_owned(), ..GatewayConfig::default() };
    let rig = Rig::with(Table::in_memory(), config).await;
    let instance = Instance::named("hello").await;
    rig.online(1, instance.address);
    let by_header = |host| [("host", host), ("barge-service", "greeter"), ("barge-environment", "test")];
    let foreign = |host: &str| {
        format!(
            "with a barge-service header the host must be a name of this machine, such as localhost, and not {host:?}"
        )
    };
    let unknown = |host: &str| format!("the host {host:?} is not SERVICE.ENVIRONMENT.apps.example");
    for (headers, code, text) in [
        (&[("host", "Greeter.test.Apps.example:8080")] as &[_], 200, "hello".to_owned()),
        (&[("host", "greeter.test.localhost")], 400, unknown("greeter.test.localhost")),
        (&[("host", "greeter.test.myapps.example")], 400, unknown("greeter.test.myapps.example")),
        (&[("host", "apps.example")], 400, unknown("apps.example")),
        (&by_header("any.apps.example"), 200, "hello".to_owned()),
        (&by_header("127.0.0.1"), 200, "hello".to_owned()),
        (&by_header("evil.example"), 400, foreign("evil.example")),
        (&by_header("any.myapps.example"), 400, foreign("any.myapps.example")),
    ] {
        assert_eq!(status(&rig, headers).await, (code, text), "{headers:?}");
    }
}

#[tokio::test]
async fn only_online_instances_with_a_weight_are_asked() {
    let rig = Rig::start().await;
    let instance = Instance::named("hello").await;
    for (state, generation) in [(PutState::Offline, 1), (PutState::Online, 2), (PutState::Terminal, 3)] {
        rig.table.put(&key(), &uid(1), put(instance.address, generation, state)).unwrap();
        let (code, text) = status(&rig, &[("host", "greeter.test.localhost")]).await;
        if state == PutState::Online {
            assert_eq!((code, text.as_str()), (200, "hello"));
        } else {
            assert_eq!((code, text.as_str()), (503, "no instance of test/greeter is online"));
        }
    }
    let mut weightless = put(instance.address, 1, PutState::Online);
    weightless.weight = 0;
    rig.table.put(&key(), &uid(2), weightless).unwrap();
    assert_eq!(status(&rig, &[("host", "greeter.test.localhost")]).await.0, 503);
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let rig = Rig::start().await;
    let (light, heavy) = (Instance::named("light").await, Instance::named("heavy").await);
    rig.online(1, light.address);
    rig.table.put(&key(), &uid(2), put(heavy.address, 1, PutState::Online)).unwrap();
    let mut weighted = put(heavy.address, 2, PutState::Online);
    weighted.weight = 3;
    rig.table.put(&key(), &uid(2), weighted).unwrap();
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.push(rig.get("/").await.text);
    }
    assert_eq!(answers.iter().filter(|text| *text == "heavy").count(), 30);
    assert_eq!(rig.table.traffic(&key(), &uid(1)).unwrap().total, 10);
}

#[tokio::test]
async fn an_answer_names_its_instance_and_the_instance_cannot_name_another() {
    let rig = Rig::start().await;
    let lies = axum::Router::new().fallback(|| async { ([("barge-instance", "somebody")], "") });
    let instance = Instance::serve(lies).await;
    rig.online(1, instance.address);
    assert_eq!(rig.get("/").await.headers["barge-instance"], uid(1).as_str());
}

#[tokio::test]
async fn an_instance_whose_port_is_closed_is_named_when_there_is_no_other() {
    let rig = Rig::start().await;
    let closed = {
        let instance = Instance::named("gone").await;
        instance.address
    };
    assert_ne!(closed, address(0));
    // The listener is closed by the runtime a moment after its task is.
    crate::support::until("the port is closed", || std::net::TcpStream::connect(closed).is_err()).await;
    rig.online(1, closed);
    let (code, text) = status(&rig, &[("host", "greeter.test.localhost")]).await;
    assert_eq!(code, 503);
    let refused = format!("instance {} at {closed} took no connection", uid(1).short());
    assert_eq!(text, format!("no instance of test/greeter can be reached; {refused}"));
    // Who asks for it by its id is told the same, and not that it is not online.
    let id = uid(1).to_string();
    let (code, text) = status(&rig, &[("host", "greeter.test.localhost"), ("barge-instance", &id)]).await;
    assert_eq!((code, text), (503, format!("instance {id} of test/greeter cannot be reached; {refused}")));
}
