//! Releases, aborts and scales at a steady rate, and whether the operator's memory grows meanwhile.

use std::time::{Duration, Instant};

use barge_model::rollout::Gate;
use tokio::time::{MissedTickBehavior, interval};

use crate::figures::{mebibytes, percent, row};
use crate::fleet::{Fleet, REPLICAS};
use crate::process::Operator;

/// Between two operations.
const PAUSE: Duration = Duration::from_millis(500);
/// Judged as in the soak: by so much may memory grow from the second quarter to the last.
const GROWTH: (u64, u64) = (15, 4 << 20);

/// Goes on for so long, and until all of it has settled.
pub(crate) async fn churn(fleet: &mut Fleet, operator: &Operator, span: Duration) {
    let (before, begin) = (operator.cpu(), Instant::now());
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut samples, mut done) = (Vec::new(), 0);
    while begin.elapsed() < span {
        ticks.tick().await;
        operation(fleet, done).await;
        samples.push(operator.memory());
        done += 1;
    }
    let used = percent(operator.cpu() - before, begin.elapsed());
    fleet.settled("everything has settled after the churn").await;
    let minutes = span.as_secs() / 60;
    row(&format!("{done} releases, aborts and scales in {minutes} min: CPU, in percent of one core"), &used, "");
    let quarter = |which: usize| median(&samples[samples.len() * which / 4..samples.len() * (which + 1) / 4]);
    row("memory, median of the first quarter", &mebibytes(quarter(0)), "");
    let (second, last) = (quarter(1), quarter(3));
    row("of the second quarter", &mebibytes(second), "");
    let most = second + second * GROWTH.0 / 100 + GROWTH.1;
    row("of the last quarter", &mebibytes(last), &format!("no growth: under {}", mebibytes(most)));
}

/// One after the other: a release that waits for nobody, a release that waits, its abort, another number of instances.
async fn operation(fleet: &mut Fleet, number: usize) {
    let services = fleet.all.len();
    let at = |round: usize| (round * 3) % services;
    let round = number / 4;
    match number % 4 {
        0 => {
            let change = fleet.change(at(round), |one| {
                one.release_anew(Gate { until: None, hold: None });
                one.released()
            });
            change.await;
        }
        1 => {
            let change = fleet.change((at(round) + 1) % services, |one| {
                one.release_anew(Gate::default());
                one.released()
            });
            change.await;
        }
        2 => fleet.change((at(round) + 1) % services, |one| one.aborted()).await,
        _ => {
            let replicas = REPLICAS + u32::try_from(round % 3).unwrap_or(0) - 1;
            fleet.change((at(round) + 2) % services, |one| one.scaled(replicas)).await;
        }
    }
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
