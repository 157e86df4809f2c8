//! Random tests that look at the same cases in every run, and at others with `BARGE_CASES=100000`.

use proptest::test_runner::{Config, TestRunner};

pub(crate) fn runner(cases: u32) -> TestRunner {
    let more = std::env::var("BARGE_CASES").ok().map(|cases| cases.parse().unwrap());
    let config =
        Config { cases: more.unwrap_or(cases), failure_persistence: None, max_shrink_iters: 3000, ..Config::default() };
    match more {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRunner::deterministic().rng().clone()),
    }
}
