//! The election without a cluster: whatever is delayed, two never lead at once.

use std::time::Duration;

use barge_lease::Tenure;
use barge_lease::clock::Moment;
use barge_lease::election::{DURATION, Decision, RENEW_WITHIN, Record, Seen, decide, see};
use proptest::prelude::*;

fn at(millis: u64) -> Moment {
    Moment::at(Duration::from_millis(millis))
}

fn record(version: u64, holder: &str, epoch: u64) -> Record {
    Record { version: version.to_string(), holder: holder.to_owned(), epoch, duration: DURATION }
}

#[test]
fn who_may_take_it() {
    let seen = |holder| Some(Seen { record: record(7, holder, 3), since: at(1000) });
    let take = Decision::Take { version: "7".to_owned(), epoch: 4 };
    let renew = Decision::Renew { version: "7".to_owned(), epoch: 3 };
    for (what, leads, seen, now, expected) in [
        ("there is none", None, None, 1000, Decision::Create),
        ("somebody has it", None, seen("b"), 1000, Decision::Wait),
        ("he has been silent, but not for long enough", None, seen("b"), 15_999, Decision::Wait),
        ("he has been silent for too long", None, seen("b"), 16_000, take.clone()),
        ("it was given back", None, seen(""), 1000, take.clone()),
        ("it is one's own", Some(3), seen("a"), 99_000, renew),
        ("it was one's own before a restart", None, seen("a"), 1000, take.clone()),
        ("it was one's own in another epoch", Some(2), seen("a"), 1000, take),
    ] {
        assert_eq!(decide("a", leads, seen.as_ref(), at(now)), expected, "{what}");
    }
}

#[test]
fn silence_begins_with_the_first_sight_of_a_version() {
    let first = see(None, Some(record(1, "b", 1)), at(5000)).unwrap();
    let again = see(Some(first.clone()), Some(record(1, "b", 1)), at(9000)).unwrap();
    assert_eq!(again, first);
    let renewed = see(Some(again), Some(record(2, "b", 1)), at(9500)).unwrap();
    assert_eq!(renewed.since, at(9500));
    assert_eq!(see(Some(renewed), None, at(9600)), None);
}

/// A replica with a clock of its own, in the middle of a round or between two.
#[derive(Default)]
struct Replica {
    ahead: u64,
    seen: Option<Seen>,
    tenure: Option<Tenure>,
    /// What it is about to write, and when it began to ask.
    about: Option<(Decision, Moment)>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Time goes on, for everybody.
    Pass(u64),
    /// A replica reads and decides; it may be stopped for as long as it likes before it writes.
    Read(usize),
    /// It writes what it has decided.
    Write(usize),
    /// It is killed, and started again under its name.
    Restart(usize),
    /// It gives the Lease back in good order.
    GiveBack(usize),
}

fn step(replicas: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6000u64).prop_map(Step::Pass),
        1 => (10_000..40_000u64).prop_map(Step::Pass),
        6 => (0..replicas).prop_map(Step::Read),
        6 => (0..replicas).prop_map(Step::Write),
        1 => (0..replicas).prop_map(Step::Restart),
        1 => (0..replicas).prop_map(Step::GiveBack),
    ]
}

/// What the API server has.
#[derive(Default)]
struct Server {
    lease: Option<Record>,
    version: u64,
}

impl Server {
    fn write(&mut self, expected: Option<&str>, holder: &str, epoch: u64) -> bool {
        let is = self.lease.as_ref().map(|lease| lease.version.as_str()) == expected;
        if is {
            self.version += 1;
            self.lease = Some(record(self.version, holder, epoch));
        }
        is
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_never_lead_at_once(ahead in prop::collection::vec(0..1_000_000u64, 3), steps in prop::collection::vec(step(3), 1..120)) {
        let mut replicas: Vec<Replica> = ahead.iter().map(|&ahead| Replica { ahead, ..Replica::default() }).collect();
        let (mut server, mut now) = (Server::default(), 1_000_000u64);
        let mut last = 0;
        for step in steps {
            match step {
                Step::Pass(millis) => now += millis,
                Step::Read(which) => {
                    let replica = &mut replicas[which];
                    let here = at(now + replica.ahead);
                    replica.seen = see(replica.seen.take(), server.lease.clone(), here);
                    let leads = replica.tenure.as_ref().filter(|tenure| tenure.holds(here)).map(Tenure::epoch);
                    let decision = decide(&format!("replica {which}"), leads, replica.seen.as_ref(), here);
                    replica.about = Some((decision, here));
                }
                Step::Write(which) => {
                    let replica = &mut replicas[which];
                    let Some((decision, asked)) = replica.about.take() else { continue };
                    let (version, epoch) = match decision {
                        Decision::Wait => continue,
                        Decision::Create => (None, 1),
                        Decision::Take { version, epoch } | Decision::Renew { version, epoch } => (Some(version), epoch),
                    };
                    if server.write(version.as_deref(), &format!("replica {which}"), epoch) {
                        prop_assert!(epoch >= last, "epochs only grow");
                        last = epoch;
                        replica.tenure = Some(Tenure::new(epoch, asked.plus(RENEW_WITHIN)));
                    }
                }
                Step::Restart(which) => {
                    replicas[which] = Replica { ahead: replicas[which].ahead, ..Replica::default() };
                }
                Step::GiveBack(which) => {
                    let replica = &mut replicas[which];
                    let Some(tenure) = replica.tenure.take() else { continue };
                    replica.about = None;
                    let own = server.lease.clone().filter(|lease| {
                        lease.holder == format!("replica {which}") && lease.epoch == tenure.epoch()
                    });
                    if let Some(own) = own {
                        server.write(Some(&own.version), "", own.epoch);
                    }
                }
            }
            let leads = |replica: &&Replica| {
                replica.tenure.as_ref().is_some_and(|tenure| tenure.holds(at(now + replica.ahead)))
            };
            prop_assert!(replicas.iter().filter(leads).count() <= 1, "two lead at {now}");
        }
    }
}
