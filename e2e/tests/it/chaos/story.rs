//! One release under load, with somebody killed on the way, driven to its end as a person would, and judged by what is there then.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use barge_load::{Counted, Load};
use barge_testkit::{TestGateway, TestPlatform, instance_processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Points;
use crate::support::{PATIENCE, answers, greeter, greeter_version, load_plan, release_first, wait_for};

const REPLICAS: u32 = 3;
const FIRST: &str = "Hello from greeter 1";
const SECOND: &str = "A very good day to you from greeter 2";

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// The platform, its gateway with it.
    Platform,
    /// The platform, in front of which a gateway serves on.
    PlatformAlone,
    /// The gateway, which runs on its own.
    Gateway,
    Init,
    Instance,
    CommandLine,
}

/// What came of a story.
pub(super) struct Played {
    pub(super) transitions: usize,
    pub(super) killed_at: Option<String>,
}

/// A platform with a first release complete, and a second version ready to be deployed.
pub(super) struct Story {
    platform: TestPlatform,
    /// Ends after the platform.
    gateway: Option<TestGateway>,
    project: PathBuf,
    /// The command that runs now, for whoever wants to kill it.
    command: Arc<AtomicU32>,
}

impl Story {
    pub(super) fn begin(victim: Victim) -> Self {
        let alone = matches!(victim, Victim::Gateway | Victim::PlatformAlone);
        let gateway = alone.then(TestGateway::start);
        let platform = gateway.as_ref().map_or_else(TestPlatform::start, TestPlatform::start_behind);
        let project = greeter(&platform, REPLICAS);
        release_first(&platform, &project);
        greeter_version(&project, "better");
        Self { gateway, platform, project, command: Arc::default() }
    }

    /// Releases the second version, goes back to the first, and judges; `fault` says who is killed at which transition.
    pub(super) fn play(mut self, fault: Option<(Victim, usize)>) -> Played {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let load = {
            let _inside = runtime.enter();
            Load::start(load_plan(&self.platform, "greeter"), "release").unwrap()
        };
        let before = self.platform.instance_processes();
        let act = fault.map(|(victim, point)| (point, self.act(victim)));
        let points = Points::watch(&self.platform.data(), "greeter", act);
        self.drive(&before, &["deploy"], SECOND);
        self.drive(&before, &["rollback", "--to", "1"], FIRST);
        let (transitions, killed_at) = (points.seen(), points.killed_at());
        drop(points);
        let counted = runtime.block_on(load.stop());
        self.judge(fault, &counted);
        Played { transitions, killed_at }
    }

    /// What is done at the point: one SIGKILL.
    fn act(&self, victim: Victim) -> super::points::Act {
        let (platform, data, command) = (self.platform.pid(), self.platform.data(), Arc::clone(&self.command));
        let gateway = self.gateway.as_ref().map(TestGateway::pid);
        Box::new(move || {
            let is_init = |pid: &u32| {
                std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(b"barge-init")
            };
            let pid = match victim {
                Victim::Platform | Victim::PlatformAlone => Some(platform),
                Victim::Gateway => gateway,
                Victim::CommandLine => Some(command.load(Ordering::SeqCst)).filter(|pid| *pid != 0),
                // The newest: the one that the release is about.
                Victim::Init => instance_processes(&data).into_iter().rev().find(is_init),
                Victim::Instance => instance_processes(&data).into_iter().rev().find(|pid| !is_init(pid)),
            };
            if let Some(pid) = pid {
                // Gone already is as good as killed.
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
        })
    }

    /// Does what a person would do next, again and again, until every instance gives `answer`.
    fn drive(&mut self, before: &[u32], begin: &'static [&'static str], answer: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut approved = false;
        while Instant::now() < deadline {
            self.come_back(before);
            let output = self.platform.barge_output(&self.project, &["status", "--json"]);
            let Ok(status) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else { continue };
            let candidates = of_candidate(&status);
            let asks = begin == ["deploy"] && !approved;
            assert!(!asks || candidates <= 1, "I1: {candidates} instances before an approval: {status}");
            let next: &[&str] = match status["waiting_on"]["on"].as_str() {
                Some("approval") => &["approve"],
                _ if !status["candidate"].is_null() => &[],
                Some("nothing") if self.all_answer(answer) => return,
                Some("nothing") => begin,
                _ => &[],
            };
            if next.is_empty() {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            approved |= next == ["approve"];
            self.run(next, before);
        }
        let last = self.platform.barge_output(&self.project, &["status"]);
        panic!("the release did not come to its end:\n{}", String::from_utf8_lossy(&last.stdout));
    }

    /// Starts again what was killed of platform and gateway; the platform's instances must have gone on without it.
    fn come_back(&mut self, before: &[u32]) {
        if let Some(gateway) = &mut self.gateway
            && !gateway.runs()
        {
            gateway.kill();
            gateway.up();
        }
        if self.platform.runs() {
            return;
        }
        let now = self.platform.instance_processes();
        assert!(before.iter().any(|pid| now.contains(pid)) || now.len() >= 2, "nothing serves without the platform");
        self.platform.kill();
        self.platform.up();
    }

    /// Runs a command to its end. Where the platform goes away meanwhile, somebody starts it again, and the command goes on.
    fn run(&mut self, arguments: &[&str], before: &[u32]) {
        let mut child = self
            .platform
            .command(&self.project, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.command.store(child.id(), Ordering::SeqCst);
        // Whether it succeeds is not the question here; the status tells what to do next.
        while child.try_wait().unwrap().is_none() {
            self.come_back(before);
            std::thread::sleep(Duration::from_millis(5));
        }
        self.command.store(0, Ordering::SeqCst);
    }

    fn all_answer(&self, expected: &str) -> bool {
        answers(&load_plan(&self.platform, "greeter"), 6) == [expected]
    }

    fn judge(&self, fault: Option<(Victim, usize)>, counted: &[Counted]) {
        wait_for("the right number of available instances", || {
            let status = self.platform.barge_json(&self.project, &["status"]);
            status["available"] == REPLICAS && status["instances"].as_array().unwrap().len() == REPLICAS as usize
        });
        wait_for("each instance to run once, under its barge-init, and nothing else", || {
            self.platform.instance_processes().len() == 2 * REPLICAS as usize
        });
        assert_eq!(answers(&load_plan(&self.platform, "greeter"), 20), [FIRST]);
        // Only a gateway that was killed itself may have lost requests.
        if !matches!(fault, Some((Victim::Platform | Victim::Gateway, _))) {
            for phase in counted {
                assert_eq!(phase.failed, 0, "{fault:?}: {:?}", phase.first_failure);
            }
        }
    }
}

fn of_candidate(status: &serde_json::Value) -> usize {
    let candidate = &status["candidate"]["release"];
    let instances = status["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    instances
        .iter()
        .filter(|one| !candidate.is_null() && one["release"] == *candidate && one["phase"] != "draining")
        .count()
}
