//! What a platform costs on which nothing happens: 50 services of 2 instances of greeter, all in service. Memory and CPU of the platform's
//! process, and of the barge-init of each instance, as the kernel counts them. Against the real binary, on a real platform.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use barge_testkit::TestPlatform;

/// How many services.
const SERVICES: usize = 50;
/// How many instances each has.
const REPLICAS: usize = 2;
/// How long nothing happens.
const SPAN: Duration = Duration::from_secs(60);
/// How often the platform's memory is looked at meanwhile.
const LOOKS: u32 = 12;
/// How long the services may take to come into service.
const PATIENCE: Duration = Duration::from_secs(120);
/// The kernel tells CPU time to programs in hundredths of a second (proc_pid_stat(5), `USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

fn main() {
    let platform = TestPlatform::start();
    for number in 1..=SERVICES {
        deploy(&platform, number);
    }
    let inits = until_idle(&platform);
    let (platform_before, inits_before) = (cpu(platform.pid()), all_cpu(&inits));
    let begin = Instant::now();
    let looks: Vec<Memory> = (0..LOOKS)
        .map(|_| {
            std::thread::sleep(SPAN / LOOKS);
            memory(platform.pid())
        })
        .collect();
    let span = begin.elapsed();
    let platform_cpu = cpu(platform.pid()) - platform_before;
    let inits_cpu = all_cpu(&inits) - inits_before;
    let most = looks.into_iter().max_by_key(|look| look.resident).unwrap();

    println!("| {SERVICES} services of {REPLICAS} instances, for {} s nothing happens | | goal |", SPAN.as_secs());
    println!("| --- | --- | --- |");
    row("the platform's process: resident memory (Rss), at the most", &mebibytes(most.resident), "under 80 MiB");
    row("of that what no file stands behind (heap, stacks)", &mebibytes(most.anonymous), "");
    row("its CPU, in percent of one core", &percent(platform_cpu, span), "under 1 %");
    let mut each: Vec<Memory> = inits.iter().map(|pid| memory(*pid)).collect();
    each.sort_by_key(|one| one.resident);
    let goal = "under 1.5 MiB";
    row("each barge-init: resident memory (Rss), median", &mebibytes(each[each.len() / 2].resident), goal);
    row("each barge-init: resident memory (Rss), largest", &mebibytes(each[each.len() - 1].resident), goal);
    each.sort_by_key(|one| one.share);
    row("each barge-init: its share of what several have (Pss), median", &mebibytes(each[each.len() / 2].share), "");
    each.sort_by_key(|one| one.anonymous);
    row("of that what no file stands behind, median", &mebibytes(each[each.len() / 2].anonymous), "");
    row(&format!("CPU of all {} barge-inits together", inits.len()), &percent(inits_cpu, span), "");
}

fn deploy(platform: &TestPlatform, number: usize) {
    let name = format!("greeter-{number}");
    // No gate: nobody has to look at these.
    let manifest = format!("name: {name}\nkind: web\nreplicas: {REPLICAS}\nrollout: {{gate: {{}}}}\n");
    let project = platform.greeter_project(&name, &manifest);
    std::fs::write(project.join("dist/greeter.conf"), "version=1\ngreeting=Hello\n").unwrap();
    platform.barge(&project, &["deploy", "--wait", "complete"]);
}

/// Waits until every instance serves, no release is on its way, and nothing is left of any start; the result are the barge-inits.
fn until_idle(platform: &TestPlatform) -> Vec<u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = platform.barge_json(Path::new("."), &["services"]);
        let services = list["services"].as_array().unwrap();
        let settled = services.iter().filter(|service| {
            service["available"] == REPLICAS && !service["stable"].is_null() && service["candidate"].is_null()
        });
        let processes = platform.instance_processes();
        let inits: Vec<u32> = processes.iter().copied().filter(|pid| is_init(*pid)).collect();
        let instances = SERVICES * REPLICAS;
        if settled.count() == SERVICES && inits.len() == instances && processes.len() == 2 * instances {
            return inits;
        }
        assert!(Instant::now() < deadline, "{} processes, {} barge-inits; {list}", processes.len(), inits.len());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn is_init(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"barge-init"))
}

/// Bytes of memory.
struct Memory {
    /// What is resident, shared with others or not.
    resident: u64,
    /// The same, each page divided by the number of those who have it.
    share: u64,
    /// What is not a part of a file.
    anonymous: u64,
}

fn memory(pid: u32) -> Memory {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    Memory { resident: field("Rss:"), share: field("Pss:"), anonymous: field("Anonymous:") }
}

/// The CPU time of a process so far, in its own code and in the kernel.
fn cpu(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name stands in parentheses and may hold anything; the third field follows it.
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = fields[11..13].iter().map(|field| field.parse::<u32>().unwrap()).sum();
    TICK * ticks
}

fn all_cpu(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| cpu(*pid)).sum()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn percent(time: Duration, span: Duration) -> String {
    format!("{:.2} %", 100.0 * time.as_secs_f64() / span.as_secs_f64())
}

fn row(what: &str, measured: &str, goal: &str) {
    println!("| {what} | {measured} | {goal} |");
}
