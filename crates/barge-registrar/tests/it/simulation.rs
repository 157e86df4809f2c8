//! Whatever happens in whatever order, the target ends with what is wanted, and no step on the way breaks R2 or R3.

use barge_model::registration::Intent::{Online, Terminal};
use barge_model::registration::Wanted;
use proptest::prelude::*;

use crate::support::{Bench, List, Put, dead, ending, not_ready, ready, starting};

const INSTANCES: u128 = 4;

#[derive(Debug, Clone)]
enum Step {
    Want(u128, u8),
    Target(Put),
    List(List),
    Forget(u128),
    Restart,
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..=INSTANCES, 0u8..5).prop_map(|(number, kind)| Step::Want(number, kind)),
        2 => prop_oneof![Just(Put::Works), Just(Put::Fails), Just(Put::LosesAnswer), Just(Put::Hangs)].prop_map(Step::Target),
        1 => prop_oneof![Just(List::Works), Just(List::Fails), Just(List::Hangs)].prop_map(Step::List),
        1 => (1..=INSTANCES).prop_map(Step::Forget),
        1 => Just(Step::Restart),
        2 => Just(Step::Pause),
    ]
}

fn wanted(number: u128, kind: u8) -> Wanted {
    match kind {
        0 => ready(number),
        1 => not_ready(number),
        2 => dead(number),
        3 => starting(number),
        _ => ending(number),
    }
}

async fn play(steps: Vec<Step>) {
    let mut bench = Bench::fake();
    let mut list: Vec<Wanted> = (1..=INSTANCES).map(starting).collect();
    for step in steps {
        match step {
            Step::Want(number, kind) => {
                let place = list.iter_mut().find(|wanted| wanted.id == crate::support::id(number)).unwrap();
                // An engine never takes an end back.
                if !place.ending {
                    *place = wanted(number, kind);
                }
                bench.want(list.clone());
            }
            Step::Target(put) => bench.target.lock().put = put,
            Step::List(list) => bench.target.lock().list = list,
            Step::Forget(number) => {
                bench.target.lock().held.remove(&(crate::support::key(), crate::support::id(number)));
            }
            Step::Restart => bench.restart().await,
            Step::Pause => tokio::time::sleep(std::time::Duration::from_millis(3)).await,
        }
    }
    bench.target.lock().put = Put::Works;
    bench.target.lock().list = List::Works;
    // Everybody who can be is ready in the end.
    for wanted in list.iter_mut().filter(|wanted| !wanted.ending) {
        *wanted = (1..=INSTANCES).map(ready).find(|ready| ready.id == wanted.id).unwrap();
    }
    bench.want(list.clone());
    for number in 1..=INSTANCES {
        let ends = list.iter().any(|wanted| wanted.ending && wanted.id == crate::support::id(number));
        bench.wait(number, !ends, ends).await;
        let state = bench.target.state(number);
        if ends {
            assert!(matches!(state, None | Some(Terminal)), "{number}: {state:?}");
        } else {
            bench.wait_target(number, Online).await;
        }
    }
    bench.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn every_history_converges(steps in proptest::collection::vec(step(), 0..30)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(steps));
    }
}
