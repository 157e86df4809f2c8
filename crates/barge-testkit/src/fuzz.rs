//! Cases by the thousand: the runner that all fuzz tests share, and what becomes of good bytes on a bad disk or in bad hands.
//!
//! A few hundred cases, the same in every run; with [`SECONDS`] others, for as long in each test (`cargo xtask fuzz`). No corpus is kept:
//! each case grows out of a good document, and one that fails is printed in its smallest form, to become a test with a name.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// Names the variable that says for how many seconds each test looks at cases that nobody has seen before.
pub const SECONDS: &str = "BARGE_FUZZ_SECONDS";

/// Looks at `cases` of them, or at as many as the time allows.
pub fn fuzz<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    fuzz_in(cases, || (), strategy, |_, case| test(case));
}

/// The same for cases that share a world, because one for each would take too long. It is made anew after every `cases`.
#[allow(clippy::unwrap_used)] // For tests alone, where a panic is how to fail.
pub fn fuzz_in<W, S: Strategy>(
    cases: u32,
    world: impl Fn() -> W,
    strategy: &S,
    test: impl Fn(&W, S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let round = |mut runner: TestRunner| {
        let world = world();
        runner.run(strategy, |case| test(&world, case)).unwrap();
    };
    let seconds: Option<u64> = std::env::var(SECONDS).ok().map(|seconds| seconds.parse().unwrap());
    let Some(seconds) = seconds else {
        let rng = TestRunner::deterministic().rng().clone();
        return round(TestRunner::new_with_rng(config, rng));
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        round(TestRunner::new(config.clone()));
    }
}

/// One thing that happens to bytes.
#[derive(Debug, Clone)]
pub enum Damage {
    /// A byte becomes another one.
    Change(Index, u8),
    /// The rest is gone.
    Cut(Index),
    /// So many bytes are gone.
    Remove(Index, usize),
    /// Something comes in between.
    Insert(Index, Vec<u8>),
    /// Something else stands in the place of a value: of what follows a colon.
    Value(Index, Vec<u8>),
    /// So many bytes stand there so many times more.
    Repeat(Index, usize, usize),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let count = bytes.len();
        match self {
            Damage::Change(at, byte) => bytes[at.index(count)] = *byte,
            Damage::Cut(at) => bytes.truncate(at.index(count)),
            Damage::Remove(at, length) => {
                let from = at.index(count);
                bytes.drain(from..(from + length).min(count));
            }
            Damage::Insert(at, more) => {
                let from = at.index(count);
                drop(bytes.splice(from..from, more.iter().copied()));
            }
            Damage::Value(at, value) => {
                let begins: Vec<usize> = (1..count).filter(|at| bytes[at - 1] == b':').collect();
                if begins.is_empty() {
                    return;
                }
                let from = *at.get(&begins);
                let length = bytes[from..].iter().position(|byte| b",}]\n".contains(byte)).unwrap_or(count - from);
                drop(bytes.splice(from..from + length, value.iter().copied()));
            }
            Damage::Repeat(at, length, times) => {
                let from = at.index(count);
                let more = bytes[from..(from + length).min(count)].repeat(*times);
                drop(bytes.splice(from..from, more));
            }
        }
    }
}

/// Damage for a document of a kind in which `words` mean something; now and then there is none.
pub fn damages(words: &'static [&'static str]) -> impl Strategy<Value = Vec<Damage>> {
    let one = prop_oneof![
        3 => any::<(Index, u8)>().prop_map(|(at, byte)| Damage::Change(at, byte)),
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => (any::<Index>(), 1usize..20).prop_map(|(at, count)| Damage::Remove(at, count)),
        2 => (any::<Index>(), nasty(words)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        4 => (any::<Index>(), nasty(words)).prop_map(|(at, bytes)| Damage::Value(at, bytes)),
        1 => (any::<Index>(), 1usize..40, 1usize..1000).prop_map(|(at, length, times)| Damage::Repeat(at, length, times)),
    ];
    prop::collection::vec(one, 0..4)
}

/// Good bytes after such damage.
pub fn after(good: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    damages.iter().for_each(|damage| damage.apply(&mut bytes));
    bytes
}

/// Good bytes with some damage, and now and then nothing but noise.
pub fn damaged(good: Vec<u8>, words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let hurt = damages(words).prop_map(move |list| after(&good, &list));
    prop_oneof![9 => hurt, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// Values that are seldom thought of, whatever the kind of document.
const NASTY: [&str; 22] = [
    "0",
    "1",
    "2",
    "-1",
    "1.5",
    "1e999",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "[[]]",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"x\",\"x\":1",
    "{\"\":\"\"}",
    "\"../..\"",
    "\"\\u001b[31m\\n\"",
];

fn nasty(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static str> = NASTY.iter().chain(words).copied().collect();
    prop_oneof![
        6 => prop::sample::select(known).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (1usize..300).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}
