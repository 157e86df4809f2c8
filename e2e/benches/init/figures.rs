//! What each system costs: size, memory, CPU while nothing happens, and how long it takes to start, to reap and to stop.

use std::time::{Duration, Instant};

use crate::cases::ORPHANS;
use crate::container::{Container, PATIENCE, eventually, numbers};
use crate::stage::{Programs, Stage};
use crate::systems::{System, Wanted};

/// How often starts and stops are measured, in turns.
const ROUNDS: usize = 31;
/// How often reaping is measured.
const REAPING_ROUNDS: usize = 5;
/// How long nothing happens, and the variable that says another number of seconds.
const IDLE: (&str, u64) = ("BARGE_BENCH_IDLE_SECONDS", 60);
/// Goals: within so much of tini's, and below this size.
const NEAR_TINI: f64 = 1.5;
const SMALL: u64 = 2 << 20;

/// What was measured of one system.
struct Figures {
    system: System,
    size: u64,
    resident: u64,
    share: u64,
    /// Of one core, as a part of the time in which nothing happened.
    cpu: f64,
    start: Duration,
    reaped_per_second: Option<f64>,
    stop: Duration,
}

/// Measures every system, and prints the figures and what became of the goals.
pub(crate) fn run(systems: &[System], programs: &Programs) {
    let idle = idle(systems, programs);
    let ends = starts_and_stops(systems, programs);
    let figures: Vec<Figures> = systems
        .iter()
        .zip(idle)
        .zip(ends)
        .map(|((system, (resident, share, cpu)), (start, stop))| Figures {
            system: *system,
            size: Stage::new(*system, programs).size(),
            resident,
            share,
            cpu,
            start,
            reaped_per_second: reaping(*system, programs),
            stop,
        })
        .collect();
    print(&figures);
    goals(&figures);
}

/// All run beside each other: Rss, Pss and CPU of each system's own processes.
fn idle(systems: &[System], programs: &Programs) -> Vec<(u64, u64, f64)> {
    let span = std::env::var(IDLE.0).ok().and_then(|text| text.parse().ok()).unwrap_or(IDLE.1);
    let running: Vec<(Stage<'_>, Container)> = systems
        .iter()
        .map(|system| {
            let stage = Stage::new(*system, programs);
            let container = stage.start(&bare(&stage, &["stamp", "TOLD"]));
            eventually("the business process", || (!stage.told().is_empty()).then_some(()));
            (stage, container)
        })
        .collect();
    let own: Vec<Vec<u32>> = running.iter().map(|(stage, container)| settled(stage, container)).collect();
    let begin = Instant::now();
    let before: Vec<u64> = own.iter().map(|pids| cpu(pids)).collect();
    eprintln!("nothing happens for {span} s");
    std::thread::sleep(Duration::from_secs(span));
    own.iter()
        .zip(before)
        .map(|(pids, before)| {
            let used = (cpu(pids) - before) as f64 / begin.elapsed().as_nanos() as f64;
            (memory(pids, "Rss:"), memory(pids, "Pss:"), used)
        })
        .collect()
}

/// The system's own processes, once scripts that it begins with have become what they are for.
fn settled(stage: &Stage<'_>, container: &Container) -> Vec<u32> {
    let shells = |pids: &[u32]| pids.iter().any(|pid| !is_program(*pid));
    eventually("the system's own programs", || {
        Some(stage.own_processes(container)).filter(|pids| !pids.is_empty() && !shells(pids))
    })
}

fn is_program(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| name.trim() != "sh" && name.trim() != "unshare")
}

fn bare(stage: &Stage<'_>, arguments: &[&str]) -> Wanted {
    Wanted { command: stage.business(arguments), bare: true, ..Wanted::default() }
}

/// From the moment before PID 1 is executed to the first instruction of the business process; and from SIGTERM to PID 1's end. Medians.
fn starts_and_stops(systems: &[System], programs: &Programs) -> Vec<(Duration, Duration)> {
    let mut measured: Vec<(Vec<Duration>, Vec<Duration>)> = vec![(Vec::new(), Vec::new()); systems.len()];
    for round in 0..ROUNDS {
        for (system, (starts, stops)) in systems.iter().zip(&mut measured) {
            let stage = Stage::new(*system, programs);
            let launched = stage.path("launched");
            let launch = ["launch", &launched.display().to_string()].map(str::to_owned);
            let wanted = bare(&stage, &["stamp", "TOLD"]);
            let business = [stage.business(&[])[0].clone()];
            let command = [business.as_slice(), &launch, &stage.command(&wanted)].concat();
            let mut container = Container::start(&command);
            let first = eventually("the business process", || stage.told().first().copied());
            let begun = numbers(&launched)[0];
            starts.push(Duration::from_nanos(u64::try_from(first - begun).unwrap()));
            let begin = Instant::now();
            container.signal_now(nix::sys::signal::Signal::SIGTERM);
            assert!(container.end(PATIENCE).is_some(), "{} does not stop", system.name());
            stops.push(begin.elapsed());
        }
        eprintln!("starts and stops: {} of {ROUNDS}", round + 1);
    }
    measured.into_iter().map(|(starts, stops)| (median(starts), median(stops))).collect()
}

/// Zombies that come at once, by the time until none is left; none where some stay.
fn reaping(system: System, programs: &Programs) -> Option<f64> {
    let mut rates = Vec::new();
    for _ in 0..REAPING_ROUNDS {
        let stage = Stage::new(system, programs);
        let _container = stage.start(&bare(&stage, &["orphans", ORPHANS, "TOLD"]));
        let told = crate::container::within(Duration::from_secs(60), || stage.told().first().copied());
        let nanoseconds = told.filter(|told| *told > 0)?;
        rates.push(ORPHANS.parse::<f64>().unwrap() * 1e9 / nanoseconds as f64);
    }
    rates.sort_by(f64::total_cmp);
    Some(rates[rates.len() / 2])
}

fn median(mut list: Vec<Duration>) -> Duration {
    list.sort();
    list[list.len() / 2]
}

/// Bytes of all processes together.
fn memory(pids: &[u32], field: &str) -> u64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    pids.iter().map(of).sum()
}

/// Nanoseconds on a processor, of every thread (the first field of schedstat).
fn cpu(pids: &[u32]) -> u64 {
    let threads = pids.iter().flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten());
    let time = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    threads.map(|thread| time(thread.path().join("schedstat"))).sum()
}

fn print(all: &[Figures]) {
    println!("\n| system | binaries | Rss | Pss | CPU, idle | start | reaped | stop |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for one in all {
        let reaped = one.reaped_per_second.map_or("not all".to_owned(), |rate| format!("{:.0}/s", rate));
        println!(
            "| {} | {} | {} | {} | {:.4} % | {} | {reaped} | {} |",
            one.system.name(),
            kibibytes(one.size),
            kibibytes(one.resident),
            kibibytes(one.share),
            one.cpu * 100.0,
            milliseconds(one.start),
            milliseconds(one.stop)
        );
    }
}

/// The goals for barge-init beside those of the others that are there.
fn goals(all: &[Figures]) {
    let find = |system: System| all.iter().find(|one| one.system == system);
    let Some(own) = find(System::BargeInit) else { return };
    println!("\n| goal for barge-init | measured | reached |");
    println!("| --- | --- | --- |");
    let row = |goal: String, measured: String, reached: bool| {
        println!("| {goal} | {measured} | {} |", if reached { "yes" } else { "no" });
    };
    row("binary below 2 MiB".to_owned(), kibibytes(own.size), own.size < SMALL);
    for system in [System::Tini, System::S6, System::Runsv, System::Runsvdir, System::Supervisord] {
        let Some(other) = find(system) else { continue };
        let limit = if system == System::Tini { NEAR_TINI } else { 1.0 };
        let ratios = [
            ("resident memory (Rss)", own.resident as f64 / other.resident as f64),
            ("start", own.start.as_secs_f64() / other.start.as_secs_f64()),
        ];
        for (what, ratio) in ratios {
            let goal = format!("{what}: at most {limit} of that of {}", system.name());
            row(goal, format!("{ratio:.2}"), ratio <= limit);
        }
    }
}

fn kibibytes(bytes: u64) -> String {
    format!("{} KiB", bytes >> 10)
}

fn milliseconds(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1e3)
}
