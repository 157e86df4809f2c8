//! Taking everything back, services too: against an API server that plays its part, since a real one is shared with other tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barge_cluster::uninstall::{UninstallError, uninstall, uninstall_with_services};
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What was asked to change, in order.
type Deleted = Arc<Mutex<Vec<String>>>;

/// An API server with one service, whose instances are as many as `instances` says, one number for each look.
fn fake(instances: &[usize]) -> (Client, Deleted) {
    let deleted = Deleted::default();
    let (seen, instances) = (Arc::clone(&deleted), Arc::new(Mutex::new(VecDeque::from(instances.to_vec()))));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (status, answer) = match method {
            Method::DELETE => {
                seen.lock().unwrap().push(path.clone());
                (StatusCode::OK, json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }))
            }
            _ if path == "/api/v1/pods" => {
                let mut left = instances.lock().unwrap();
                let count = if left.len() > 1 { left.pop_front().unwrap() } else { left[0] };
                (StatusCode::OK, list((0..count).map(|number| item(&format!("pod-{number}"), "shop")).collect()))
            }
            _ if path.ends_with("/webservices") => (StatusCode::OK, list(vec![item("greeter", "shop")])),
            _ if path.ends_with("/rpcservices") => (
                StatusCode::NOT_FOUND,
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound" }),
            ),
            _ if path.ends_with("/deployments") => (StatusCode::OK, list(vec![item("barge-operator", "barge-system")])),
            _ => (StatusCode::OK, list(Vec::new())),
        };
        let response = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes())).unwrap();
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    (Client::new(service, "default"), deleted)
}

fn item(name: &str, namespace: &str) -> Value {
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": { "name": name, "namespace": namespace } })
}

fn list(items: Vec<Value>) -> Value {
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items })
}

const SERVICE: &str = "/apis/barge.dev/v1alpha1/namespaces/shop/webservices/greeter";

#[tokio::test]
async fn services_go_first_while_somebody_can_take_their_instances_out_of_traffic() {
    let (client, deleted) = fake(&[2, 1, 0]);
    let done = uninstall_with_services(&client, Duration::from_secs(60)).await.unwrap();
    let deleted = deleted.lock().unwrap().clone();
    assert_eq!(deleted[0], SERVICE);
    assert_eq!(deleted[1], "/apis/apps/v1/namespaces/barge-system/deployments/barge-operator");
    let last: Vec<&str> = deleted[deleted.len() - 2..].iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(last, ["webservices.barge.dev", "rpcservices.barge.dev"]);
    assert_eq!(done.removed.len(), deleted.len());
    assert_eq!(done.kept, ["the namespace barge-system, with what others have put there"]);
}

#[tokio::test]
async fn where_instances_do_not_end_their_operator_stays() {
    let (client, deleted) = fake(&[2]);
    let error = uninstall_with_services(&client, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, UninstallError::Instances { left: 2, .. }), "{error}");
    assert_eq!(*deleted.lock().unwrap(), [SERVICE]);
}

#[tokio::test]
async fn services_stay_unless_somebody_says_so() {
    let (client, deleted) = fake(&[2]);
    let done = uninstall(&client).await.unwrap();
    let deleted = deleted.lock().unwrap().clone();
    assert!(deleted.iter().all(|path| path.contains("/namespaces/barge-system/")), "{deleted:?}");
    let kept = &done.kept[done.kept.len() - 1];
    assert_eq!(kept, "services: 1, and their instances, which get no more requests through the gateway: 2");
}
