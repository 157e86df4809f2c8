//! Instances that take more than their share: of the disk with their output, of memory.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use barge_testkit::TestPlatform;

use crate::behaviours::{ask, instances, misbehave, python};
use crate::support::{greeter_in, load_plan, release_first, under_load, wait_for};

const MEGABYTE: u64 = 1024 * 1024;
/// So much is written: many times what is kept of it.
const FLOOD: u64 = 200 * MEGABYTE;

/// The memory that a process has for itself, in bytes.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = ["RssAnon:", "VmRSS:"].iter().find_map(|name| status.lines().find_map(|line| line.strip_prefix(name)));
    line.unwrap().trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// What a log takes on the disk, in bytes; its files are renamed while they are looked at.
fn log_size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let logs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("output.log"));
    logs.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

#[test]
fn an_instance_that_floods_its_log_fills_neither_disk_nor_memory_and_holds_nobody_up() {
    let Some(python) = python() else { return };
    let platform = TestPlatform::start();
    let calm = greeter_in(platform.project("calm"), "calm", 2);
    release_first(&platform, &calm);
    let loud = greeter_in(platform.project("loud"), "loud", 1);
    misbehave(&loud, &python, "flood", "");
    let before = memory(platform.pid());
    under_load(load_plan(&platform, "calm"), |phase| {
        release_first(&platform, &loud);
        phase("during the flood");
        // Somebody follows, and takes nothing of it.
        let mut follower = platform.command(&loud, &["logs", "--follow"]);
        let mut follower = follower.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let instance = instances(&platform, &loud).remove(0);
        let written = || ask(&instance, "/written").parse::<u64>().unwrap_or(0);
        let begin = written();
        wait_for("the flood", || written().saturating_sub(begin) > FLOOD);

        let asked = Instant::now();
        let told = platform.barge(&loud, &["logs", "--tail", "20"]);
        assert!(asked.elapsed() < Duration::from_secs(10), "reading a few lines took {:?}", asked.elapsed());
        assert_eq!(told.lines().count(), 20);
        assert!(told.lines().all(|line| line.ends_with('x')), "{told}");

        let id = instance["id"].as_str().unwrap();
        let size = log_size(&platform.data().join("engine/services/local/loud/instances").join(id));
        assert!((1..64 * MEGABYTE).contains(&size), "the log has {size} bytes");
        let more = memory(platform.pid()).saturating_sub(before);
        assert!(more < 64 * MEGABYTE, "the platform has {more} bytes more than before");
        for pid in platform.instance_processes() {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if command.starts_with(b"barge-init") {
                assert!(memory(pid) < 32 * MEGABYTE, "a barge-init has {} bytes", memory(pid));
            }
        }
        follower.kill().unwrap();
        follower.wait().unwrap();
        phase("after it");
    });
    platform.barge(&loud, &["scale", "0"]);
    wait_for("the loud one to be gone", || instances(&platform, &loud).is_empty());
}

#[test]
fn an_instance_that_eats_memory_is_stopped_by_its_limit_or_the_limit_is_said_not_to_hold() {
    let Some(python) = python() else { return };
    let platform = TestPlatform::start();
    let calm = greeter_in(platform.project("calm"), "calm", 2);
    release_first(&platform, &calm);
    let hungry = greeter_in(platform.project("hungry"), "hungry", 2);
    misbehave(&hungry, &python, "well", "resources: {memory: 96MiB}\n");
    release_first(&platform, &hungry);
    let all = instances(&platform, &hungry);
    if let Some(why) = all[0]["limits_not_enforced"].as_str() {
        assert!(why.contains("cgroups"), "{why}");
        let told = platform.barge(&hungry, &["status"]);
        assert!(told.contains(&format!("the limits are not in force: {why}")), "{told}");
        return;
    }
    let now = |number: usize| {
        let found = instances(&platform, &hungry).into_iter().find(|one| one["id"] == all[number]["id"]);
        found.expect("an instance keeps its id")
    };
    under_load(load_plan(&platform, "calm"), |phase| {
        phase("beside one that eats");
        ask(&all[0], "/eat");
        wait_for("its end", || now(0)["restarts"] == 1);
        wait_for("both to serve", || platform.barge_json(&hungry, &["status"])["available"] == 2);
        phase("after its end");
    });
    let told = platform.barge(&hungry, &["status"]);
    let expected = "started again: it was ended by SIGKILL (killed, perhaps for its use of memory)";
    assert!(told.contains(expected), "{told}");
    assert_eq!(now(1)["restarts"], 0, "the other one has its own limit");
    platform.barge(&hungry, &["scale", "0"]);
    wait_for("nothing to run", || instances(&platform, &hungry).is_empty());
    for group in ["/sys/fs/cgroup/barge", "/sys/fs/cgroup/memory/barge"] {
        let group = Path::new(group).join(all[0]["id"].as_str().unwrap());
        wait_for("its limits to be gone", || !group.exists());
    }
}
