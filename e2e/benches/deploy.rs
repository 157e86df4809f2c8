//! How long `barge deploy` takes: from the command to the first answer of the new instance, through the gateway; and with nothing
//! changed. Against the real binary, on a real platform.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use barge_load::LoadPlan;
use barge_testkit::TestPlatform;

/// How often each is measured.
const ROUNDS: usize = 21;

fn main() {
    let platform = TestPlatform::start();
    let project = platform.greeter_project("greeter", "name: greeter\nkind: web\n");
    let dist = project.join("dist");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plan = LoadPlan::new(platform.gateway, "greeter.local.localhost");
    write_version(&dist, 0);
    platform.barge(&project, &["deploy"]);
    platform.barge(&project, &["approve", "--wait", "complete"]);

    let (mut changed, mut attached, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
    let mut parts: [Vec<Duration>; 4] = Default::default();
    for round in 1..=ROUNDS {
        write_version(&dist, round);
        // Not the end of the release before is measured: a new instance waits for the room that a draining one takes.
        until_settled(&platform, &project);
        let (begin, clock) = (Instant::now(), SystemTime::now());
        let mut deploy = platform
            .command(&project, &["deploy"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        runtime.block_on(until_answered(&plan, &format!("from greeter {round}")));
        changed.push(begin.elapsed());
        assert!(deploy.wait().unwrap().success());
        attached.push(begin.elapsed());
        for (part, time) in parts.iter_mut().zip(parts_of(&platform.barge_json(&project, &["status"]), clock)) {
            part.push(time);
        }
        platform.barge(&project, &["approve", "--wait", "complete"]);
        let begin = Instant::now();
        let told = platform.barge(&project, &["deploy"]);
        unchanged.push(begin.elapsed());
        assert!(told.contains("nothing changed"), "{told}");
    }
    println!("| `barge deploy` of greeter, compiled | median | slowest of {ROUNDS} | goal for the median |");
    println!("| --- | --- | --- | --- |");
    row("one file changed: to the new instance's first answer", &mut changed, "1,000 ms");
    row("one file changed: to the closed gate", &mut attached, "");
    row("nothing changed", &mut unchanged, "300 ms");
    println!("\n| of that, with one file changed | median | slowest of {ROUNDS} | |\n| --- | --- | --- | --- |");
    for (what, part) in PARTS.iter().zip(&mut parts) {
        row(what, part, "");
    }
}

/// Where the time goes, one after the other.
const PARTS: [&str; 4] = [
    "build, push, and the decision to start an instance",
    "pull, unpack, bring to the disk, start barge-init",
    "the process starts, and its readiness check passes",
    "registered, acknowledged, stored: the gate is closed",
];

/// How long each part took, as the new instance tells of itself. Clocks of one machine, read to the millisecond.
fn parts_of(status: &serde_json::Value, begin: SystemTime) -> [Duration; 4] {
    let instances = status["instances"].as_array().unwrap();
    let candidate = instances.iter().find(|instance| instance["role"] == "candidate").unwrap();
    let timeline = candidate["timeline"].as_array().unwrap();
    let ready = timeline.iter().find(|step| step["what"].as_str().unwrap().starts_with("ready")).unwrap();
    let ends = [&candidate["created_at"], &timeline[0]["at"], &ready["at"], &status["candidate"]["since"]];
    let mut before = u64::try_from(begin.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    ends.map(|end| {
        let end = end.as_u64().unwrap();
        Duration::from_millis(end.saturating_sub(std::mem::replace(&mut before, end)))
    })
}

fn until_settled(platform: &TestPlatform, project: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while platform.barge_json(project, &["status"])["waiting_on"]["on"] != "nothing" {
        assert!(Instant::now() < deadline, "the release before does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn write_version(dist: &Path, round: usize) {
    std::fs::write(dist.join("greeter.conf"), format!("version={round}\ngreeting=Hello\n")).unwrap();
}

async fn until_answered(plan: &LoadPlan, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        // The gateway takes turns, so two questions reach both instances.
        let answers = barge_load::some_answers(plan, 2).await.unwrap();
        if answers.keys().any(|answer| answer.ends_with(expected)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("no answer {expected:?}");
}

fn row(what: &str, times: &mut [Duration], goal: &str) {
    times.sort();
    let ms = |time: Duration| format!("{} ms", time.as_millis());
    println!("| {what} | {} | {} | {goal} |", ms(times[times.len() / 2]), ms(times[times.len() - 1]));
}
