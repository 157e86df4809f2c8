//! Asks barge-init of each pod that runs and is not ready what it waits for: Kubernetes learns from a probe that it is not ready, and not why.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use barge_init::PHASE_HEADER;
use barge_model::InstanceId;
use futures_util::StreamExt;

use crate::build::{READY_PATH, READY_PORT};
use crate::observe::{Said, is_to_be_asked};
use crate::reconcile::Context;

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(1);
/// One answer takes no longer.
const LIMIT: Duration = Duration::from_secs(2);
/// So many are asked at once.
const AT_ONCE: usize = 50;
/// Longer reasons are cut.
const MOST: usize = 1000;

/// Asks until it is dropped; `news` hears after each round in which somebody has said something new.
pub(crate) async fn ask(context: Arc<Context>, http: reqwest::Client, news: impl Fn()) {
    loop {
        let pods = context.views.pods.all();
        let asked: Vec<(InstanceId, String)> = pods.iter().filter_map(|pod| is_to_be_asked(pod.as_ref())).collect();
        let answers = futures_util::stream::iter(asked.into_iter().map(|(id, address)| {
            let http = http.clone();
            async move { (id, one(&http, &address).await) }
        }));
        let said: HashMap<InstanceId, Option<Said>> = answers.buffer_unordered(AT_ONCE).collect().await;
        if context.views.hear(said) {
            news();
        }
        // Sooner where somebody cannot decide without.
        let _ = tokio::time::timeout(PAUSE, context.views.asks.notified()).await;
    }
}

/// Nothing where barge-init does not answer: then only Kubernetes knows.
async fn one(http: &reqwest::Client, address: &str) -> Option<Said> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let answer = http.get(format!("http://{host}:{READY_PORT}{READY_PATH}")).timeout(LIMIT).send().await.ok()?;
    let held = answer.headers().get(PHASE_HEADER).is_some_and(|phase| phase == "held");
    let text = answer.text().await.ok()?;
    Some(Said { held, reason: text.trim().chars().take(MOST).collect() })
}
