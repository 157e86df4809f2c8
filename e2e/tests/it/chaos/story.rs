//! One release under load, with somebody killed on the way, driven to its end as a person would, and judged by what is there then.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use barge_load::{Counted, Load};

use crate::judge::{self, Counts};
use crate::points::Points;
use crate::processes::running;
use crate::stage::{Stage, Victim};
use crate::support::{PATIENCE, answers, greeter, greeter_version, load_plan, release_first, wait_until_right};

const REPLICAS: u32 = 3;
const FIRST: &str = "Hello from greeter 1";
const SECOND: &str = "A very good day to you from greeter 2";

/// What came of a story.
pub(super) struct Played {
    pub(super) transitions: usize,
    pub(super) killed_at: Option<String>,
}

/// A platform with a first release complete, and a second version ready to be deployed.
pub(super) struct Story {
    stage: Stage,
    project: PathBuf,
}

impl Story {
    pub(super) fn begin(victim: Victim) -> Self {
        let stage = match victim {
            Victim::Gateway | Victim::PlatformAlone => Stage::behind_a_gateway(),
            Victim::Platform | Victim::Init | Victim::Instance | Victim::CommandLine => Stage::whole(),
        };
        let project = greeter(&stage.platform, REPLICAS);
        release_first(&stage.platform, &project);
        greeter_version(&project, "better");
        Self { stage, project }
    }

    /// Releases the second version, goes back to the first, and judges; `fault` says who is killed at which transition.
    pub(super) fn play(mut self, fault: Option<(Victim, usize)>) -> Played {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let load = {
            let _inside = runtime.enter();
            Load::start(load_plan(&self.stage.platform, "greeter"), "release").unwrap()
        };
        self.stage.note_serving();
        let act = fault.map(|(victim, point)| (point, self.stage.kill(victim, "greeter")));
        let points = Points::watch(&self.stage.platform.data(), "greeter", act);
        self.drive(&["deploy"], SECOND);
        self.drive(&["rollback", "--to", "1"], FIRST);
        let (transitions, killed_at) = (points.seen(), points.killed_at());
        drop(points);
        let counted = runtime.block_on(load.stop());
        self.judge(fault, &counted);
        Played { transitions, killed_at }
    }

    /// Does what a person would do next, again and again, until every instance gives `answer`.
    fn drive(&mut self, begin: &'static [&'static str], answer: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut approved = false;
        while Instant::now() < deadline {
            self.stage.come_back();
            let output = self.stage.platform.barge_output(&self.project, &["status", "--json"]);
            let Ok(status) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else { continue };
            let candidates = judge::of_candidate(&status);
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
            self.stage.run(&self.project, next);
        }
        let last = self.stage.platform.barge_output(&self.project, &["status"]);
        let (status, said) = (String::from_utf8_lossy(&last.stdout), self.stage.said());
        panic!("the release did not come to its end:\n{status}\nand the last command said:\n{said}");
    }

    fn all_answer(&self, expected: &str) -> bool {
        answers(&load_plan(&self.stage.platform, "greeter"), 6) == [expected]
    }

    fn judge(&self, fault: Option<(Victim, usize)>, counted: &[Counted]) {
        let wanted = Counts { stable: REPLICAS as usize, candidate: 0, held: 0 };
        wait_until_right("three instances, each of which runs once, and nothing else", PATIENCE, || {
            let status = self.stage.platform.barge_json(&self.project, &["status"]);
            judge::counts(&status, wanted)?;
            judge::each_runs_once(&status, &running(&self.stage.platform.data()))
        });
        assert_eq!(answers(&load_plan(&self.stage.platform, "greeter"), 20), [FIRST]);
        // Only a gateway that was killed itself may have lost requests.
        if !matches!(fault, Some((Victim::Platform | Victim::Gateway, _))) {
            for phase in counted {
                assert_eq!(phase.failed, 0, "{fault:?}: {:?}", phase.first_failure);
            }
        }
    }
}
