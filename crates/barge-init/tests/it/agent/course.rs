//! What is told next, for every order of events: no registry, no clock.

use std::time::Duration;

use barge_init::agent::course::{Call, Course, Names, Outcome, Standing, Wanted, What};
use proptest::prelude::*;

const BEAT: Duration = Duration::from_secs(5);

fn names() -> Names {
    Names { place: "Consul".to_owned(), ready: "passing", not_ready: "failing" }
}

/// One thing that happens, and what is expected of it.
enum Step {
    /// The instance is to be something else.
    Want(Wanted),
    /// At so many milliseconds this call is due; this is what comes of it.
    Call(u64, What, Outcome),
    /// At so many milliseconds nothing is due, and then not before so many.
    Idle(u64, Option<u64>),
    /// How it stands in words.
    Words(&'static str),
}

/// Plays the steps; jitter makes every pause the longest.
#[track_caller]
fn play(steps: Vec<Step>) -> Course {
    let mut course = Course::new(BEAT);
    let mut now = Duration::ZERO;
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Want(wanted) => course.want(now, wanted),
            Step::Call(at, what, outcome) => {
                now = Duration::from_millis(at);
                let call = course.next(now).unwrap_or_else(|| panic!("step {number}: nothing is due"));
                assert_eq!(call.what, what, "step {number}");
                course.answered(now, &call, outcome, BEAT, 1.0);
            }
            Step::Idle(at, due) => {
                now = Duration::from_millis(at);
                assert_eq!(course.next(now), None, "step {number}");
                assert_eq!(course.due(), due.map(Duration::from_millis), "step {number}");
            }
            Step::Words(words) => assert_eq!(course.words(&names()), words, "step {number}"),
        }
    }
    course
}

use Outcome::{Done, Ended, Forgotten};
use Standing::{NotReady as Bad, Ready as Good};
use Step::{Call as C, Idle, Want, Words};
use Wanted::{Leaving, Ready};
use What::{Beat, Leave, Tell};

fn not_ready(reason: &str) -> Wanted {
    Wanted::NotReady(reason.to_owned())
}

fn failed() -> Outcome {
    Outcome::Failed("it hangs".to_owned())
}

fn unreached() -> Outcome {
    Outcome::Unreached("nobody listens".to_owned())
}

#[test]
fn an_instance_is_told_once_it_is_ready_and_then_again_and_again() {
    play(vec![
        Idle(1000, None),
        Words("not registered in Consul: it was not ready yet"),
        Want(Ready),
        Words("not registered in Consul"),
        C(1000, Tell(Good), Done),
        Words("passing in Consul"),
        Idle(5999, Some(6000)),
        C(6000, Beat(Good), Done),
        Want(Ready),
        Idle(6000, Some(11_000)),
    ]);
}

#[test]
fn a_change_is_told_at_once_and_its_reason_with_the_next_heartbeat() {
    play(vec![
        Want(Ready),
        C(0, Tell(Good), Done),
        Want(not_ready("503")),
        C(100, Tell(Bad), Done),
        Words("failing in Consul: 503"),
        Want(not_ready("no answer")),
        Words("failing in Consul: no answer"),
        Idle(200, Some(5100)),
        C(5100, Beat(Bad), Done),
        Want(Ready),
        C(5100, Tell(Good), Done),
    ]);
}

#[test]
fn the_call_says_why_and_counts_changes() {
    let mut course = Course::new(BEAT);
    course.want(Duration::ZERO, not_ready("503"));
    let first = course.next(Duration::ZERO).unwrap();
    assert_eq!(first, Call { what: Tell(Bad), generation: 1, reason: "503".to_owned() });
    assert_eq!(course.next(Duration::ZERO), Some(first), "the same again until it is answered");
    course.want(Duration::ZERO, not_ready("504"));
    course.want(Duration::ZERO, Ready);
    let second = course.next(Duration::ZERO).unwrap();
    assert_eq!(second, Call { what: Tell(Good), generation: 2, reason: String::new() });
}

#[test]
fn pauses_grow_up_to_a_heartbeat_and_end_with_success() {
    play(vec![
        Want(Ready),
        C(0, Tell(Good), unreached()),
        Words("not registered in Consul: nobody listens"),
        Idle(0, Some(250)),
        C(250, Tell(Good), unreached()),
        Idle(250, Some(750)),
        C(750, Tell(Good), failed()),
        C(1750, Tell(Good), failed()),
        C(3750, Tell(Good), failed()),
        C(7750, Tell(Good), failed()),
        Idle(7750, Some(12_750)),
        // A readiness that flaps is no reason to ask more often.
        Want(not_ready("503")),
        Idle(7750, Some(12_750)),
        C(12_750, Tell(Bad), Done),
        Idle(12_750, Some(17_750)),
    ]);
}

#[test]
fn a_registry_that_has_forgotten_it_is_told_again_at_once() {
    play(vec![
        Want(Ready),
        C(0, Tell(Good), Done),
        C(5000, Beat(Good), Forgotten),
        Words("not registered in Consul: it has forgotten the instance"),
        C(5000, Tell(Good), Done),
        Words("passing in Consul"),
        Idle(5000, Some(10_000)),
        // One that forgets what it is told at the same moment is no reason to tell it without a pause.
        C(10_000, Beat(Good), Forgotten),
        C(10_000, Tell(Good), Forgotten),
        Idle(10_000, Some(10_250)),
    ]);
}

#[test]
fn a_heartbeat_that_fails_is_tried_again_and_the_registration_is_as_it_was() {
    play(vec![
        Want(Ready),
        C(0, Tell(Good), Done),
        C(5000, Beat(Good), unreached()),
        Words("passing in Consul when it answered last; now: nobody listens"),
        C(5250, Beat(Good), Done),
        Words("passing in Consul"),
        Idle(5250, Some(10_250)),
    ]);
}

#[test]
fn a_later_generation_is_passed_at_once_and_a_second_one_after_a_pause() {
    let older = || Outcome::Older { stored: 40 };
    let mut course = play(vec![
        Want(Ready),
        C(0, Tell(Good), older()),
        C(0, Tell(Good), older()),
        Words("not registered in Consul: it holds generation 40 already"),
        Idle(0, Some(500)),
    ]);
    assert_eq!(course.next(Duration::from_millis(500)).unwrap().generation, 42);
}

#[test]
fn a_leave_is_the_last_call() {
    let table: Vec<(Vec<Step>, &str)> = vec![
        (vec![C(0, Leave, Done)], "deregistered from Consul"),
        (vec![C(0, Leave, Forgotten)], "deregistered from Consul"),
        (vec![C(0, Leave, Ended)], "ended by Consul, which takes nothing of this instance any more"),
        (
            vec![
                C(0, Leave, failed()),
                Words("not deregistered from Consul yet: it hangs"),
                C(250, Leave, unreached()),
                C(750, Leave, Done),
            ],
            "deregistered from Consul",
        ),
        (vec![C(0, Leave, Outcome::Older { stored: 9 }), C(0, Leave, Done)], "deregistered from Consul"),
    ];
    for (steps, words) in table {
        let before = vec![Want(Ready), C(0, Tell(Good), Done), Want(Leaving)];
        let after = vec![Want(Ready), Want(not_ready("late")), Want(Wanted::Away), Idle(60_000, None)];
        let course = play(before.into_iter().chain(steps).chain(after).collect());
        assert!(course.is_over());
        assert_eq!(course.words(&names()), words);
    }
}

#[test]
fn whoever_was_never_there_leaves_without_a_word() {
    for before in [vec![], vec![Want(Ready)], vec![Want(Ready), C(0, Tell(Good), unreached())]] {
        let after = vec![Want(Leaving), Words("never registered in Consul"), Idle(0, None)];
        assert!(play(before.into_iter().chain(after).collect()).is_over());
    }
}

#[test]
fn whoever_may_be_there_is_deregistered() {
    play(vec![Want(Ready), C(0, Tell(Good), failed()), Want(Leaving), C(0, Leave, Done), Idle(0, None)]);

    // The stop comes while the first call is under way.
    let table = [(unreached(), None), (failed(), Some(Leave)), (Done, Some(Leave))];
    for (outcome, expected) in table {
        let mut course = Course::new(BEAT);
        course.want(Duration::ZERO, Ready);
        let call = course.next(Duration::ZERO).unwrap();
        course.want(Duration::ZERO, Leaving);
        course.answered(Duration::ZERO, &call, outcome.clone(), BEAT, 0.0);
        let next = course.next(Duration::from_millis(250)).map(|call| call.what);
        assert_eq!(next, expected, "{outcome:?}");
    }
}

#[test]
fn an_ended_instance_is_told_no_more() {
    let ended = "ended by Consul, which takes nothing of this instance any more";
    play(vec![Want(Ready), C(0, Tell(Good), Ended), Words(ended), Idle(0, None), Want(Leaving), Words(ended)]);
}

#[test]
fn many_reasons_are_one_stage() {
    let mut course = play(vec![Want(Ready), C(0, Tell(Good), failed())]);
    let before = course.stage();
    let call = course.next(Duration::from_secs(1)).unwrap();
    course.answered(Duration::from_secs(1), &call, unreached(), BEAT, 0.5);
    assert_eq!(course.stage(), before);
    let call = course.next(Duration::from_secs(9)).unwrap();
    course.answered(Duration::from_secs(9), &call, Done, BEAT, 0.5);
    assert_ne!(course.stage(), before);
}

/// What a registry does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Works,
    /// It does what it is told, and the answer is lost.
    LosesAnswer,
    Fails,
    Away,
    /// It has lost everything, and says so.
    Forgets,
    /// Somebody else has put in a later generation.
    IsAhead,
    /// Somebody else has ended the instance.
    Ends,
}

#[derive(Debug, Clone)]
enum Event {
    Ready(bool),
    Leave,
    Mood(Mood),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    use Mood::{Away, Ends, Fails, Forgets, IsAhead, LosesAnswer, Works};
    let moods = [Works, Works, LosesAnswer, Fails, Away, Forgets, IsAhead, Ends];
    prop_oneof![
        4 => any::<bool>().prop_map(Event::Ready),
        1 => Just(Event::Leave),
        4 => proptest::sample::select(moods.to_vec()).prop_map(Event::Mood),
        6 => (0u64..20_000).prop_map(Event::Wait),
    ]
}

/// A registry that remembers, and the course that tells it.
struct World {
    course: Course,
    now: Duration,
    mood: Mood,
    jitter: f64,
    /// What it holds: the generation, and what the instance is.
    held: Option<(u64, Standing)>,
    last: u64,
    leaving: bool,
    ended: bool,
}

impl World {
    fn new(jitter: f64) -> Self {
        let (course, now, mood) = (Course::new(BEAT), Duration::ZERO, Mood::Works);
        Self { course, now, mood, jitter, held: None, last: 0, leaving: false, ended: false }
    }

    /// Lets time pass; the result is the number of calls.
    fn wait(&mut self, millis: u64) -> Result<u64, TestCaseError> {
        let end = self.now + Duration::from_millis(millis);
        let mut calls = 0;
        loop {
            while let Some(call) = self.course.next(self.now) {
                calls += 1;
                self.answer(&call)?;
            }
            if let Some(due) = self.course.due() {
                prop_assert!(due > self.now && due <= self.now + BEAT, "due at {due:?}, now {:?}", self.now);
            }
            match self.course.due() {
                Some(due) if due <= end => self.now = due,
                _ => break,
            }
        }
        self.now = end;
        Ok(calls)
    }

    fn answer(&mut self, call: &Call) -> Result<(), TestCaseError> {
        prop_assert!(call.generation >= self.last, "generations go back");
        self.last = call.generation;
        prop_assert!(!self.leaving || call.what == Leave, "{call:?} after a leave");
        let outcome = match self.mood {
            Mood::Away => unreached(),
            Mood::Fails => failed(),
            Mood::Forgets => {
                self.held = None;
                Forgotten
            }
            Mood::IsAhead => Outcome::Older { stored: call.generation + 3 },
            Mood::Ends => {
                self.ended = true;
                self.held = None;
                Ended
            }
            Mood::Works | Mood::LosesAnswer => {
                self.held = match call.what {
                    Tell(standing) | Beat(standing) => Some((call.generation, standing)),
                    Leave => None,
                };
                if self.mood == Mood::Works { Done } else { failed() }
            }
        };
        self.course.answered(self.now, call, outcome, BEAT, self.jitter);
        if self.course.is_over() {
            prop_assert_eq!(self.held, None, "over, and still there: {}", self.course.words(&names()));
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_history_ends_as_it_should(events in proptest::collection::vec(event(), 0..40), jitter in 0.0..1.0f64) {
        let mut world = World::new(jitter);
        let mut wanted = None;
        for event in events {
            match event {
                Event::Ready(ready) => {
                    world.course.want(world.now, if ready { Ready } else { not_ready("503") });
                    wanted = if world.leaving { None } else { Some(if ready { Good } else { Bad }) };
                }
                Event::Leave => {
                    world.leaving = true;
                    world.course.want(world.now, Leaving);
                    wanted = None;
                }
                Event::Mood(mood) => world.mood = mood,
                Event::Wait(millis) => {
                    let calls = world.wait(millis)?;
                    // Two at once after a change or a loss, then one for each of the shortest pauses.
                    prop_assert!(calls <= millis / 125 + 3, "{calls} calls in {millis} ms");
                }
            }
        }
        // Within one heartbeat of the registry's return everything is as it should be.
        world.mood = Mood::Works;
        world.wait(u64::try_from(BEAT.as_millis()).unwrap())?;
        if !world.ended {
            prop_assert_eq!(world.held.map(|(_, standing)| standing), wanted);
        }
        prop_assert_eq!(world.course.is_over(), world.leaving || world.ended);
    }
}
