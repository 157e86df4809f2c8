//! A target or a journal that fails: nothing is lost, nothing is told before it is stored, and the state of health says so (R3, R5).

use barge_model::registration::Intent::{Online, Terminal};

use crate::support::{Bench, Put, ending, id, ready};

#[tokio::test]
async fn a_target_that_fails_is_said_so_and_told_again_when_it_works() {
    for put in [Put::Fails, Put::Hangs, Put::Breaks, Put::LosesAnswer] {
        let mut bench = Bench::fake();
        bench.target.lock().put = put;
        bench.want([ready(1)]);
        bench.wait_unhealthy("does not take registrations").await;
        assert_eq!(bench.acknowledged(1).map(|seen| seen.online), Some(false), "{put:?}");
        bench.target.lock().put = Put::Works;
        bench.wait_online(1).await;
        bench.wait_healthy().await;
        let generations: Vec<u64> = bench.target.lock().calls.iter().map(|(_, call)| call.generation).collect();
        assert!(
            generations.iter().all(|generation| *generation == 1),
            "a repetition is the same call: {generations:?}"
        );
        bench.check();
    }
}

#[tokio::test]
async fn one_call_at_a_time_and_the_end_wins() {
    let mut bench = Bench::fake();
    bench.target.lock().put = Put::Hangs;
    bench.want([ready(1)]);
    bench.eventually("the call", || bench.target.calls(1).len() == 1).await;
    bench.want([ending(1)]);
    bench.target.lock().put = Put::Works;
    bench.wait(1, false, true).await;
    assert_eq!(bench.target.calls(1), [Online, Terminal]);
    bench.check();
}

#[tokio::test]
async fn an_instance_that_cannot_be_taken_back_may_not_be_stopped() {
    let mut bench = Bench::fake();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    bench.target.lock().put = Put::Fails;
    bench.want([ending(1)]);
    bench.wait_unhealthy("does not take registrations").await;
    assert_eq!(bench.acknowledged(1).map(|seen| seen.terminal), Some(false));
}

#[tokio::test]
async fn a_restart_in_the_middle_goes_on_where_the_journal_ends() {
    for (put, calls) in [(Put::Hangs, 2), (Put::LosesAnswer, 2)] {
        let mut bench = Bench::fake();
        bench.target.lock().put = put;
        bench.want([ready(1)]);
        bench.eventually("the call", || !bench.target.calls(1).is_empty()).await;
        bench.restart().await;
        bench.target.lock().put = Put::Works;
        bench.wait_online(1).await;
        assert!(bench.target.calls(1).len() >= calls);
        let generation = bench.target.lock().held.values().next().unwrap().generation;
        assert_eq!(generation, 1, "the same intent, not another one");
        bench.check();
    }
}

#[tokio::test]
async fn a_restarted_registrar_says_at_once_who_is_online() {
    let mut bench = Bench::fake();
    bench.want([ready(1), ready(2)]);
    bench.wait_online(1).await;
    bench.wait_online(2).await;
    bench.target.lock().put = Put::Fails;
    bench.restart().await;
    bench.wait_healthy().await;
    assert!(bench.acknowledged(1).is_some_and(|seen| seen.online));
    assert!(bench.acknowledged(2).is_some_and(|seen| seen.online));
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_told() {
    let mut bench = Bench::fake();
    bench.want([ready(1)]);
    bench.wait_online(1).await;
    let journal = bench.journal.path().to_owned();
    let aside = journal.with_extension("aside");
    std::fs::rename(&journal, &aside).unwrap();
    bench.want([ready(1), ready(2)]);
    bench.wait_unhealthy("journal cannot be written").await;
    assert!(bench.target.calls(2).is_empty());
    assert!(bench.acknowledged(1).is_some_and(|seen| seen.online), "who serves goes on serving");
    std::fs::rename(&aside, &journal).unwrap();
    bench.wait_online(2).await;
    bench.wait_healthy().await;
    bench.check();
}

#[tokio::test]
async fn a_damaged_file_is_set_aside() {
    let mut bench = Bench::fake();
    bench.want([ready(1), ready(2)]);
    bench.wait_online(1).await;
    bench.wait_online(2).await;
    let path = bench.journal.path().join(format!("{}.json", id(1)));
    std::fs::write(&path, "{").unwrap();
    bench.restart().await;
    bench.wait_online(1).await;
    bench.wait_online(2).await;
    assert!(path.with_extension("damaged").exists());
}
