//! The platform of a soak, its services under load, and how a step is carried out on it and judged.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use barge_load::{Counted, Load, LoadPlan, some_answers};
use barge_testkit::{TestGateway, TestPlatform};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::disk::{Allowance, Disk, Spent};
use super::measure::{Sample, Who, measure};
use super::person::{Rest, next, waits_for_approval};
use super::script::{Operation, SHAPES, Shape, Standing, Step};
use crate::judge::{self, Counts, Judged};
use crate::points::Points;
use crate::processes::{Running, running};
use crate::stage::{LONGEST, Stage, Victim};
use crate::support::{PATIENCE, greeter_in, load_plan, release_first, wait_for};

/// So many requests of each service have to be answered after every step.
const ASKED: u64 = 3;

/// A service, and how it has to stand.
struct Service {
    shape: Shape,
    project: PathBuf,
    plan: LoadPlan,
    standing: Standing,
}

/// Everything of a soak. Its load ends before its platform.
pub(super) struct World {
    loads: Vec<Load>,
    stage: Stage,
    services: Vec<Service>,
    /// The processes of the service to which nothing is done.
    untouched: Vec<Running>,
    spent: Spent,
    allowance: Allowance,
    runtime: Runtime,
}

impl Service {
    fn prepare(platform: &TestPlatform, shape: Shape) -> Self {
        let project = greeter_in(platform.project(shape.name), shape.name, shape.replicas);
        // Enough to notice every gap, and little enough to leave the machine to what is being tested.
        let plan = LoadPlan {
            path: shape.path.to_owned(),
            clients: 3,
            pause: Duration::from_millis(10),
            ..load_plan(platform, shape.name)
        };
        let service = Self { shape, project, plan, standing: Standing::first(&shape) };
        service.write(1, "");
        service
    }

    /// Gives the project another version, which is unlike every other image.
    fn write(&self, version: u32, more: &str) {
        let text = format!("version={}-{version}\ngreeting=Soak\n{more}", self.shape.name);
        std::fs::write(self.project.join("dist/greeter.conf"), text).unwrap();
    }

    /// What the instances may answer.
    fn may_answer(&self, answer: &str) -> bool {
        let of_version = |version: u32| format!("Soak from greeter {}-{version}", self.shape.name);
        let standing = &self.standing;
        answer == of_version(standing.stable) || standing.candidate.is_some_and(|version| answer == of_version(version))
    }
}

impl World {
    /// Every service with its first release complete, and under load.
    pub(super) fn begin() -> Self {
        let mut stage = Stage::behind_a_gateway();
        let platform = &stage.platform;
        let services: Vec<Service> = SHAPES.iter().map(|shape| Service::prepare(platform, *shape)).collect();
        std::thread::scope(|scope| {
            for service in &services {
                scope.spawn(move || release_first(platform, &service.project));
            }
        });
        stage.note_serving();
        let runtime = Runtime::new().unwrap();
        let loads = {
            let _inside = runtime.enter();
            let start = |service: &Service| Load::start(service.plan.clone(), service.shape.name).unwrap();
            services.iter().map(start).collect()
        };
        let begin = disk(&stage);
        let allowance = Allowance::new(begin, &services[0].project.join("dist"));
        let mut world =
            Self { loads, stage, services, untouched: Vec::new(), spent: Spent::default(), allowance, runtime };
        world.untouched = world.running_of(SHAPES[0].name);
        world.until_right();
        world
    }

    /// Carries a step out and waits until everything is as it has to be; the answer is what was being stored when somebody was killed.
    pub(super) fn carry_out(&mut self, step: &Step) -> Option<String> {
        let before = self.until_rest(step.service);
        self.stage.note_serving();
        let platform = self.stage.platform.pid();
        let service = &self.services[step.service];
        match step.operation {
            Operation::Release { version } => service.write(version, ""),
            Operation::Break { version } => service.write(version, "greting_colour=blue\n"),
            _ => {}
        }
        let points = step.disturbance.map(|it| {
            let act = self.stage.kill(it.victim, service.shape.name);
            Points::watch(&self.stage.platform.data(), service.shape.name, Some((it.point as usize, act)))
        });
        match step.operation {
            Operation::Kill { victim, which } => self.kill(step.service, victim, which),
            operation => self.drive(step.service, operation, &before),
        }
        let acted = points.and_then(Points::end);
        let killed_at = acted.filter(|acted| acted.killed.is_some()).map(|acted| acted.stored);
        if killed_at.is_some() {
            // Whoever was killed last may have taken with him what was done already.
            self.drive(step.service, step.operation, &before);
        }
        self.services[step.service].standing = step.after.clone();
        self.until_right();
        self.spent.platforms += u64::from(self.stage.platform.pid() != platform);
        self.check_requests();
        killed_at
    }

    /// What everything takes now, of which nothing may be without an explanation.
    pub(super) fn sample(&self) -> Sample {
        let running = running(&self.stage.platform.data());
        let inits = running.iter().filter(|one| one.init).map(|one| (Who::Init, one.pid));
        let gateway = self.stage.gateway.as_ref().map(|gateway| (Who::Gateway, gateway.pid()));
        let all = gateway.into_iter().chain([(Who::Platform, self.stage.platform.pid())]).chain(inits);
        let disk = disk(&self.stage);
        let objections = self.allowance.objections(&disk, &self.spent, self.instances());
        assert!(objections.is_empty(), "{}", objections.join("\n"));
        Sample {
            measured: all.filter_map(|(who, pid)| measure(who, pid)).collect(),
            processes: 2 + running.len() as u64,
            disk,
        }
    }

    /// Ends the load, and gives what it counted, by service.
    pub(super) fn end(self) -> Vec<Counted> {
        let Self { loads, runtime, .. } = self;
        loads.into_iter().flat_map(|load| runtime.block_on(load.stop())).collect()
    }

    /// How many instances there have to be.
    fn instances(&self) -> u64 {
        let of = |counts: Counts| (counts.stable + counts.candidate + counts.held) as u64;
        self.services.iter().map(|service| of(service.standing.counts())).sum()
    }

    fn running_of(&self, service: &str) -> Vec<Running> {
        let mut list = running(&self.stage.platform.data());
        list.retain(|one| one.service == service);
        list.sort_by(|a, b| (&a.instance, a.pid).cmp(&(&b.instance, b.pid)));
        list
    }

    /// A service's status, once the platform is there; nothing where it does not answer.
    fn status(&mut self, at: usize) -> Option<Value> {
        self.stage.come_back();
        let output = self.stage.platform.barge_output(&self.services[at].project, &["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    fn until_rest(&mut self, at: usize) -> Rest {
        let deadline = Instant::now() + LONGEST;
        loop {
            if let Some(rest) = self.status(at).as_ref().and_then(Rest::of) {
                return rest;
            }
            assert!(Instant::now() < deadline, "{} does not come to rest", self.services[at].shape.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Does what a person would do next, again and again, until the operation is done.
    fn drive(&mut self, at: usize, operation: Operation, before: &Rest) {
        let project = self.services[at].project.clone();
        let deadline = Instant::now() + LONGEST;
        while Instant::now() < deadline {
            let status = self.status(at).unwrap_or_default();
            let candidates = judge::of_candidate(&status);
            assert!(!waits_for_approval(operation) || candidates <= 1, "I1: {candidates} before an approval: {status}");
            let Some(now) = Rest::of(&status) else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let Some(words) = next(operation, before, &now) else { return };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.spent.commands += 1;
            self.spent.deploys += u64::from(words[0] == "deploy");
            self.stage.run(&project, &words);
        }
        let (status, said) = (self.status(at), self.stage.said());
        panic!("{operation:?} is not done: {status:?}\nand the last command said:\n{said}");
    }

    /// One SIGKILL, while nothing else goes on.
    fn kill(&mut self, at: usize, victim: Victim, which: u32) {
        let of_instance = matches!(victim, Victim::Instance | Victim::Init);
        let pid = if of_instance {
            let mut there = self.running_of(self.services[at].shape.name);
            there.retain(|one| one.init == (victim == Victim::Init));
            there[which as usize % there.len()].pid
        } else {
            self.stage.platform.pid()
        };
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
        // Until it is gone, everything looks as it did before.
        if of_instance {
            let data = self.stage.platform.data();
            wait_for("the killed one to be gone", || running(&data).iter().all(|one| one.pid != pid));
        } else {
            wait_for("the killed platform to be gone", || !self.stage.platform.runs());
            self.stage.come_back();
        }
    }

    fn until_right(&mut self) {
        let deadline = Instant::now() + LONGEST;
        while let Err(wrong) = self.judge() {
            assert!(Instant::now() < deadline, "this is not as it has to be: {wrong}");
            std::thread::sleep(Duration::from_millis(20));
        }
        for service in &self.services {
            let plan = LoadPlan { path: "/".to_owned(), ..service.plan.clone() };
            let answers = self.runtime.block_on(some_answers(&plan, 6)).unwrap();
            let strange = answers.keys().find(|answer| !service.may_answer(answer));
            assert_eq!(strange, None, "{} stands so: {:?}", service.shape.name, service.standing);
        }
    }

    /// Every service as it has to stand, each instance once, nothing else, and the gateway of the same opinion.
    fn judge(&mut self) -> Judged {
        for at in 0..self.services.len() {
            let status = self.status(at).ok_or("the platform does not answer")?;
            let Service { shape, standing, .. } = &self.services[at];
            let rest = Rest::of(&status).ok_or_else(|| format!("{} does not rest: {status}", shape.name))?;
            if rest.candidate.is_some() != standing.candidate.is_some() {
                return Err(format!(
                    "{} has the candidate {:?}, and not as in {standing:?}",
                    shape.name, rest.candidate
                ));
            }
            let of_service = |wrong: String| format!("{}: {wrong}", shape.name);
            judge::counts(&status, standing.counts()).map_err(of_service)?;
            judge::each_runs_once(&status, &self.running_of(shape.name)).map_err(of_service)?;
            let online = self.stage.gateway.as_ref().map(|gateway| gateway.online("local", shape.name));
            judge::asked_as_listed(&status, &online.unwrap_or_default()).map_err(of_service)?;
        }
        let there = running(&self.stage.platform.data());
        if let Some(stranger) = there.iter().find(|one| SHAPES.iter().all(|shape| shape.name != one.service)) {
            return Err(format!("{stranger:?} belongs to no service"));
        }
        let untouched = self.running_of(SHAPES[0].name);
        if untouched != self.untouched {
            return Err(format!("nothing was done to {:?}, and there is {untouched:?}", self.untouched));
        }
        Ok(())
    }

    /// Requests are answered, all of them, without an exception since the beginning.
    fn check_requests(&self) {
        for load in &self.loads {
            let asked = load.so_far().requests + ASKED;
            assert!(self.runtime.block_on(load.until_counted(asked, PATIENCE)), "nobody is answered");
            let counted = load.so_far();
            assert_eq!(counted.failed, 0, "{counted:?}");
        }
    }
}

impl Standing {
    fn counts(&self) -> Counts {
        Counts {
            stable: self.replicas as usize,
            candidate: usize::from(self.candidate.is_some()),
            held: usize::from(self.held),
        }
    }
}

fn disk(stage: &Stage) -> Disk {
    let gateway = stage.gateway.as_ref().map(TestGateway::data).unwrap_or_default();
    Disk::of(&stage.platform.data(), &gateway)
}
