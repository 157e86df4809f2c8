//! Releases under load, with somebody killed on the way, driven to their end as a person would, and judged by what was stored meanwhile and
//! by what is there then.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use barge_load::{Counted, Load};
use serde_json::Value;

use crate::judge::{self, Counts};
use crate::points::{Acted, Points};
use crate::processes::running;
use crate::stage::{Stage, Victim};
use crate::stored::{self, Record};
use crate::support::{PATIENCE, answers, greeter, greeter_version, load_plan, release_first, wait_until_right};

const REPLICAS: u32 = 3;
const FIRST: &str = "Hello from greeter 1";
const SECOND: &str = "A very good day to you from greeter 2";

/// What is done on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tale {
    /// A release is approved, and rolled back once it is complete.
    ThereAndBack,
    /// A release is taken back at its gate, and so is one that cannot start.
    NeverThere,
}

/// What came of a story.
pub(super) struct Played {
    pub(super) transitions: usize,
    pub(super) acted: Option<Acted>,
}

/// What a person does next.
enum Next {
    Run(&'static [&'static str]),
    Wait,
    Done,
}

/// How far a release comes before it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Gate,
    Held,
}

/// A platform with a first release complete.
pub(super) struct Story {
    stage: Stage,
    project: PathBuf,
}

impl Story {
    pub(super) fn begin(victim: Victim) -> Self {
        let stage = if is_behind(victim) { Stage::behind_a_gateway() } else { Stage::whole() };
        let project = greeter(&stage.platform, REPLICAS);
        release_first(&stage.platform, &project);
        Self { stage, project }
    }

    /// Plays it to its end, where the first version serves again, and judges; `fault` says who is killed at which transition.
    pub(super) fn play(mut self, tale: Tale, fault: Option<(Victim, usize)>) -> Played {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let load = {
            let _inside = runtime.enter();
            Load::start(load_plan(&self.stage.platform, "greeter"), "release").unwrap()
        };
        self.stage.note_serving();
        let data = self.stage.platform.data();
        let record = Record::begin(&data, self.stage.snapshot(), "greeter");
        let act = fault.map(|(victim, point)| (point, self.stage.kill(victim, "greeter")));
        let points = Points::watch(&data, "greeter", act);
        match tale {
            Tale::ThereAndBack => {
                greeter_version(&self.project, "better");
                self.complete(&["deploy"], SECOND);
                self.complete(&["rollback", "--to", "1"], FIRST);
            }
            Tale::NeverThere => {
                greeter_version(&self.project, "better");
                self.take_back(Seen::Gate);
                greeter_version(&self.project, "broken");
                self.take_back(Seen::Held);
            }
        }
        let transitions = points.seen();
        let acted = points.end();
        // Who was killed in the last moment of the tale is started again as well.
        self.stage.come_back();
        let counted = runtime.block_on(load.stop());
        self.judge(fault, &counted);
        let seen = record.end();
        let looks = seen.looks.len();
        assert!(looks * 4 > transitions, "of {transitions} transitions only {looks} were looked at");
        if let Err(wrong) = stored::judge(&seen) {
            panic!("{tale:?}, {fault:?}, {acted:?}: {wrong}");
        }
        Played { transitions, acted: acted.map(|acted| self.proven(fault, acted)) }
    }

    /// A command may have come to its own end in the moment of its death: its exit code tells.
    fn proven(&self, fault: Option<(Victim, usize)>, acted: Acted) -> Acted {
        let command = matches!(fault, Some((Victim::CommandLine, _)));
        let killed = acted.killed.filter(|pid| !command || self.stage.killed(*pid));
        Acted { killed, ..acted }
    }

    /// Until every instance gives `answer`.
    fn complete(&mut self, begin: &'static [&'static str], answer: &str) {
        let plan = load_plan(&self.stage.platform, "greeter");
        self.drive(|status| match status["waiting_on"]["on"].as_str() {
            Some("approval") => Next::Run(&["approve", "--wait", "complete"]),
            _ if !status["candidate"].is_null() => Next::Wait,
            Some("nothing") if answers(&plan, 6) == [answer] => Next::Done,
            Some("nothing") => Next::Run(begin),
            _ => Next::Wait,
        });
    }

    /// Until a release has come as far as `wanted`, and was taken back from there.
    fn take_back(&mut self, wanted: Seen) {
        let mut seen = None;
        self.drive(|status| {
            let held = judge::instances(status).iter().any(|one| one["phase"] == "held");
            match status["waiting_on"]["on"].as_str() {
                Some("approval") => seen = Some(Seen::Gate),
                _ if held => seen = Some(Seen::Held),
                _ if !status["candidate"].is_null() => return Next::Wait,
                Some("nothing") if seen == Some(wanted) => return Next::Done,
                Some("nothing") => return Next::Run(&["deploy"]),
                _ => return Next::Wait,
            }
            Next::Run(&["abort"])
        });
    }

    /// Does what a person would do next, again and again, until nothing is left to do.
    fn drive(&mut self, mut next: impl FnMut(&Value) -> Next) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.stage.come_back();
            let output = self.stage.platform.barge_output(&self.project, &["status", "--json"]);
            let Ok(status) = serde_json::from_slice::<Value>(&output.stdout) else { continue };
            match next(&status) {
                Next::Run(words) => self.stage.run(&self.project, words),
                Next::Wait => std::thread::sleep(Duration::from_millis(20)),
                Next::Done => return,
            }
        }
        let last = self.stage.platform.barge_output(&self.project, &["status"]);
        let (status, said) = (String::from_utf8_lossy(&last.stdout), self.stage.said());
        panic!("the release did not come to its end:\n{status}\nand the last command said:\n{said}");
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
                assert_eq!(phase.failed, 0, "{fault:?}: {phase:?}");
            }
        }
    }
}

/// Whether somebody is killed who is there only where the gateway runs on its own.
pub(super) fn is_behind(victim: Victim) -> bool {
    matches!(victim, Victim::Gateway | Victim::PlatformAlone)
}
