//! Server-sent events: a service's status, and an instance's output.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};

use crate::support::{Harness, SERVICE, release};

async fn next(stream: &mut BoxStream<'static, String>) -> Option<String> {
    tokio::time::timeout(Duration::from_secs(10), stream.next()).await.expect("an event or the end, in time")
}

async fn status(stream: &mut BoxStream<'static, String>) -> Value {
    serde_json::from_str(&next(stream).await.expect("an event")).unwrap()
}

#[tokio::test]
async fn a_status_stream_begins_at_once_and_tells_every_change_once() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let mut stream = harness.events(&format!("{SERVICE}/status/stream")).await;
    assert_eq!(status(&mut stream).await, harness.status().await, "the first is what is now");
    // Nothing has changed, whatever the engine says.
    harness.engine.touch();
    harness.post(&format!("{SERVICE}/scale"), &json!({ "replicas": 3 })).await;
    let mut last = status(&mut stream).await;
    assert_eq!(last["replicas"], 3);
    harness.post(&format!("{SERVICE}/releases"), &release("b")).await;
    while last["candidate"].is_null() {
        let new = status(&mut stream).await;
        assert_ne!(new, last, "nothing is told twice");
        last = new;
    }
    assert_eq!(last["waiting_on"]["on"], "approval");
}

#[tokio::test]
async fn a_status_stream_ends_when_the_server_stops_even_while_everything_changes() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let mut stream = harness.events(&format!("{SERVICE}/status/stream")).await;
    status(&mut stream).await;
    harness.post(&format!("{SERVICE}/scale"), &json!({ "replicas": 4 })).await;
    harness.cancel();
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn there_is_no_stream_of_what_was_never_released() {
    let harness = Harness::start().await;
    assert_eq!(harness.get(&format!("{SERVICE}/status/stream")).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn lines_of_output_are_given_at_once_or_as_they_come() {
    let harness = Harness::start().await;
    harness.released("a").await;
    let instance = harness.instance().await;
    let logs = format!("{SERVICE}/instances/{instance}/logs");
    let lines = async |query: &str| harness.get(&format!("{logs}{query}")).await.json["lines"].clone();
    assert_eq!(lines("").await, json!(["one", "two", "three\rfour"]));
    assert_eq!(lines("?tail=2").await, json!(["two", "three\rfour"]));
    assert_eq!(lines("?tail=0").await, json!([]));
    assert_eq!(lines("?tail=1000000").await, json!(["one", "two", "three\rfour"]));

    let all: Vec<String> = harness.events(&format!("{logs}/stream?tail=2")).await.collect().await;
    assert_eq!(all, ["two", "three\u{240d}four"], "without following it ends by itself");
    let mut followed = harness.events(&format!("{logs}/stream?tail=1&follow=true")).await;
    assert_eq!(next(&mut followed).await.unwrap(), "three\u{240d}four");
    harness.engine.print("five");
    assert_eq!(next(&mut followed).await.unwrap(), "five");
    harness.cancel();
    assert_eq!(next(&mut followed).await, None);
}
