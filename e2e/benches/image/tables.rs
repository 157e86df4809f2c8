//! The figures as they stand in docs/benchmarks.md.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Case;
use crate::contenders::{Contender, Measured};
use crate::program::Program;

/// All that was measured of one program.
#[derive(Default)]
pub(crate) struct Results {
    measured: BTreeMap<(&'static str, Case), Vec<Measured>>,
    pub(crate) floor: Vec<Duration>,
}

impl Results {
    pub(crate) fn add(&mut self, contender: &'static str, case: Case, measured: Measured) {
        self.measured.entry((contender, case)).or_default().push(measured);
    }

    fn time(&self, contender: &'static str, case: Case) -> Duration {
        median(self.measured[&(contender, case)].iter().map(|measured| measured.time).collect())
    }

    fn memory(&self, contender: &'static str) -> u64 {
        let of_it = self.measured.iter().filter(|((name, _), _)| *name == contender);
        of_it.flat_map(|(_, measured)| measured).map(|measured| measured.memory_kib).max().unwrap()
    }
}

/// How a case is called.
fn words(case: Case) -> &'static str {
    match case {
        Case::Cold => "cold: no caches, an empty repository",
        Case::Based => "the same, with the base in Jib's cache",
        Case::Unchanged => "nothing changed",
        Case::Class => "one class changed",
        Case::Dependency => "one dependency changed",
    }
}

/// Prints the tables of one program.
pub(crate) fn print(program: &Program, contenders: &[Box<dyn Contender>], results: &Results) {
    let names: Vec<&'static str> = contenders.iter().map(|contender| contender.name()).collect();
    println!("| {}; medians of {} | {} |", program.what, results.floor.len(), names.join(" | "));
    println!("| --- |{}", " --- |".repeat(names.len()));
    for case in [Case::Cold, Case::Based, Case::Unchanged, Case::Class, Case::Dependency] {
        let times: Vec<String> = names.iter().map(|name| milliseconds(results.time(name, case))).collect();
        println!("| {} | {} |", words(case), times.join(" | "));
    }
    let memory: Vec<String> = names.iter().map(|name| mebibytes(results.memory(name))).collect();
    println!("| the most resident memory of all builds | {} |", memory.join(" | "));
    let floor = median(results.floor.clone());
    println!(
        "| the same files through `cat`, `sha256sum` and `gzip -3`, a half on each core | {} ||| \n",
        milliseconds(floor)
    );
    goals(&names, results, floor);
}

/// The goals beside Jib are for what people have, a JVM for each build; what it takes beside a warm one is said as well.
fn goals(names: &[&'static str], results: &Results, floor: Duration) {
    let [ours, warm, new] = *names else { return };
    let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
    println!("| goal | measured | reached |\n| --- | --- | --- |");
    let row = |goal: &str, measured: String, reached: bool| {
        println!("| {goal} | {measured} | {} |", if reached { "yes" } else { "no" });
    };
    for (case, least) in [(Case::Cold, 3.0), (Case::Based, 3.0), (Case::Class, 10.0)] {
        for jib in [new, warm] {
            let measured = ratio(results.time(jib, case), results.time(ours, case));
            let goal = format!("{}: at least {least:.0} times as fast as {jib}", words(case));
            row(&goal, format!("{measured:.1}"), measured >= least);
        }
    }
    let unchanged = results.time(ours, Case::Unchanged);
    row("nothing changed: under 50 ms", milliseconds(unchanged), unchanged < Duration::from_millis(50));
    let memory = results.memory(ours);
    row("memory: under 100 MiB", mebibytes(memory), memory < 100 << 10);
    let cold = ratio(results.time(ours, Case::Cold), floor);
    row("cold: at most 1.5 of `cat`, `sha256sum` and `gzip`", format!("{cold:.2}"), cold <= 1.5);
    println!();
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

fn mebibytes(kib: u64) -> String {
    format!("{} MiB", kib / 1024)
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
