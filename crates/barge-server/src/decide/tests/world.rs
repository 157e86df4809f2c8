//! A service with its stored records, and an engine whose instances are available at once.

use std::collections::BTreeMap;

use barge_api::{GatePolicy, NewRelease};
use barge_model::manifest::{EnvValue, Kind, Resources, ServiceConfig};
use barge_model::rollout::{
    Action, Gate, InstancePhase, Observed, ObservedInstance, Phase, Role, RolloutPlan, RolloutSpec, RolloutStatus, step,
};
use barge_model::{Digest, EnvironmentName, InstanceId, Millis, ReleaseId, ServiceKey, ServiceName, Timestamp};

use crate::decide::{Change, Refusal, Request, Situation, Told, decide};
use crate::retention::Retention;
use crate::store::{StoredRelease, StoredService};

/// The stored records of one service, and its engine.
pub(super) struct World {
    key: ServiceKey,
    service: Option<StoredService>,
    /// Newest first.
    releases: Vec<StoredRelease>,
    retention: Retention,
    gate: GatePolicy,
    actor: &'static str,
    status: RolloutStatus,
    observed: Observed,
    /// What the engine was told last, where the database does not know.
    engine_told: Option<Told>,
    now: Timestamp,
    serial: u128,
    /// Instances that start from now on fail.
    broken: bool,
}

impl Default for World {
    fn default() -> Self {
        let environment = EnvironmentName::new("test").unwrap();
        Self {
            key: ServiceKey::new(environment, ServiceName::new("greeter").unwrap()),
            service: None,
            releases: Vec::new(),
            retention: Retention::default(),
            gate: GatePolicy::default(),
            actor: "ann",
            status: RolloutStatus::default(),
            observed: Observed::default(),
            engine_told: None,
            now: Timestamp::from_millis(1_700_000_000_000),
            serial: 0,
            broken: false,
        }
    }
}

impl World {
    /// Plays one step; the result is what a caller is told.
    pub(super) fn play(&mut self, step: &str) -> String {
        let (if_match, step) = match step.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
            Some((version, rest)) => (Some(version.parse().unwrap()), rest),
            None => (None, step),
        };
        let words: Vec<&str> = step.split_whitespace().collect();
        match words[0] {
            "start" => self.step(InstancePhase::Starting),
            "settle" => (0..50).for_each(|_| self.step(InstancePhase::Ready)),
            "break" => self.broken = true,
            "mend" => self.broken = false,
            "forget" => (self.status, self.observed) = (RolloutStatus::default(), Observed::default()),
            // What the engine was told by a database that is lost: a version, and how many instances.
            "ahead" => {
                let numbers: Vec<u32> = words[1..].iter().map(|word| word.parse().unwrap()).collect();
                self.engine_told = Some(Told { version: numbers[0].into(), replicas: numbers[1] });
            }
            "look" => return self.look(),
            "bob" => self.actor = "bob",
            "asks" => {
                self.gate = match words[1] {
                    "approval" => GatePolicy::Approval,
                    "second-person" => GatePolicy::SecondPerson,
                    other => panic!("{other:?} is no policy"),
                }
            }
            "keep" => {
                let count =
                    |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).unwrap().parse().unwrap();
                self.retention =
                    Retention { releases: count("latest="), served: count("served="), ..Retention::default() };
            }
            "kept" => {
                let numbers: Vec<String> = self.releases.iter().map(|stored| stored.number.to_string()).collect();
                return numbers.join(" ");
            }
            _ => return self.ask(self.request(&words), if_match),
        }
        String::new()
    }

    fn request(&self, words: &[&str]) -> Request {
        let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")));
        let reason = Some("because".to_owned());
        match words[0] {
            "release" => Request::Release(Box::new(NewRelease {
                image: option("image").unwrap_or("127.0.0.1:7401/greeter").to_owned(),
                digest: digest(words[1]),
                config: config(&option),
                reason,
                supersede: words.contains(&"supersede"),
            })),
            "approve" => {
                let release = self.id(words[1]);
                let own = self.releases.iter().find(|stored| stored.release.id == release);
                let own = own.map_or_else(|| digest("A"), |stored| stored.release.digest.clone());
                Request::Approve { release, digest: option("digest").map_or(own, digest) }
            }
            "abort" => Request::Abort { release: self.id(words[1]), reason },
            "rollback" => Request::Rollback { to: words.get(2).map(|number| self.id(number)), reason },
            "restart" => Request::Restart { reason },
            "scale" => Request::Scale { replicas: words[1].parse().unwrap() },
            other => panic!("{other:?} is no step"),
        }
    }

    /// The id of the release with this number, or of one that nobody made.
    fn id(&self, number: &str) -> ReleaseId {
        let found = self.releases.iter().find(|stored| stored.number.to_string() == number);
        found.map_or_else(|| ReleaseId::from_parts(Timestamp::default(), 0), |stored| stored.release.id.clone())
    }

    fn ask(&mut self, request: Request, if_match: Option<u64>) -> String {
        self.now = self.now.plus(Millis(1000));
        self.serial += 1;
        let before = self.service.as_ref().map_or(0, |service| service.version);
        let situation = Situation {
            key: &self.key,
            service: self.service.clone(),
            releases: self.releases.clone(),
            retention: self.retention,
            status: &self.status,
            told: self.engine_told,
            gate: self.gate,
            actor: self.actor,
            if_match,
            now: self.now,
            random: self.serial,
        };
        match decide(situation, request) {
            Ok(change) => {
                let known = before.max(self.engine_told.map_or(0, |told| told.version));
                assert!(change.service.version == known + 1 || change.service == *self.service.as_ref().unwrap());
                assert_eq!(change.answer.version, change.service.version);
                self.write(change)
            }
            Err(refusal) => self.told(&refusal),
        }
    }

    fn told(&self, refusal: &Refusal) -> String {
        let (status, code) = refusal.status_and_code();
        let ids = self.releases.iter().map(|stored| stored.release.id.to_string());
        ids.fold(format!("{status} {code}: {refusal}"), |text, id| text.replace(&id, "ID"))
    }

    fn write(&mut self, change: Change) -> String {
        self.service = Some(change.service);
        self.releases.retain(|stored| !change.forgotten.contains(&stored.release.id));
        if let Some((release, number)) = change.release {
            self.releases.insert(0, StoredRelease { release, number, approval: None, finished: None, failure: None });
        }
        if let Some(approval) = change.approval {
            let stored = self.releases.iter_mut().find(|stored| stored.release.id == approval.release).unwrap();
            assert_eq!(stored.approval, None, "an approval is stored once");
            stored.approval = Some(approval);
        }
        change.answer.message
    }

    /// One step of the engine; instances that are starting come as far as `phase`.
    fn step(&mut self, phase: InstancePhase) {
        self.now = self.now.plus(Millis(1000));
        let service = self.service.as_ref().unwrap();
        let target = self.releases.iter().find(|stored| Some(&stored.release.id) == service.target.as_ref());
        let spec = RolloutSpec {
            replicas: service.replicas,
            target: target.map(|stored| stored.release.clone()),
            approvals: target.and_then(|stored| stored.approval.clone()).into_iter().collect(),
            withdrawn: service.withdrawn.clone(),
        };
        let decision = step(&spec, &self.status, &self.observed, self.now);
        self.status = decision.status;
        for stored in &mut self.releases {
            stored.finished = stored.finished.take().or_else(|| self.status.outcome(&stored.release.id).cloned());
        }
        decision.actions.into_iter().for_each(|action| self.act(action));
        let broken = self.broken;
        for one in self.observed.instances.iter_mut().filter(|one| one.phase == InstancePhase::Starting) {
            one.phase = if broken && phase == InstancePhase::Ready { InstancePhase::Held } else { phase };
            one.online = one.phase == InstancePhase::Ready;
        }
    }

    fn act(&mut self, action: Action) {
        let instances = &mut self.observed.instances;
        let (release, target, keep_held) = match action {
            Action::Stop { instance } => return instances.retain(|one| one.id != instance),
            Action::Scale { release, target, keep_held } => (release, target as usize, keep_held as usize),
        };
        let (mut held, mut live) = (0, 0);
        instances.retain(|one| {
            if one.release != release {
                return true;
            }
            let (count, limit) =
                if one.phase == InstancePhase::Held { (&mut held, keep_held) } else { (&mut live, target) };
            *count += 1;
            *count <= limit
        });
        for _ in live + held.min(keep_held)..target {
            self.serial += 1;
            let id = InstanceId::from_parts(self.now, self.serial);
            let phase = InstancePhase::Starting;
            instances.push(ObservedInstance { id, release: release.clone(), phase, restarts: 0, online: false });
        }
    }

    /// What runs, in a line.
    fn look(&self) -> String {
        let number = |id: &ReleaseId| self.releases.iter().find(|stored| stored.release.id == *id).unwrap().number;
        let mut parts = Vec::new();
        for (role, name) in [(Role::Stable, "stable"), (Role::Candidate, "candidate"), (Role::Defunct, "defunct")] {
            for set in self.status.sets.iter().filter(|set| set.role == role) {
                let of_set = self.observed.instances.iter().filter(|one| one.release == set.release.id);
                parts.push(format!("{name} {} x{}", number(&set.release.id), of_set.count()));
            }
        }
        let phase = match self.status.candidate.as_ref().map(|progress| &progress.phase) {
            None => "",
            Some(Phase::Gate) => ", at the gate",
            Some(_) => ", on its way",
        };
        format!("{}{phase}; {} wanted", parts.join(", "), self.service.as_ref().unwrap().replicas)
    }
}

fn digest(letter: &str) -> Digest {
    Digest::new(format!("sha256:{}", letter.to_lowercase().repeat(64))).unwrap()
}

fn config<'a>(option: &impl Fn(&str) -> Option<&'a str>) -> ServiceConfig {
    let gate = match option("gate") {
        Some("open") => Gate { until: None, hold: None },
        Some(hold) => Gate { hold: Some(hold.parse().unwrap()), ..Gate::default() },
        None => Gate::default(),
    };
    let text = |value: &str| BTreeMap::from([("COLOUR".to_owned(), EnvValue::Text(value.to_owned()))]);
    ServiceConfig {
        kind: Kind::Web,
        command: vec![option("command").unwrap_or("./greeter").to_owned()],
        healthcheck: option("healthcheck").map(str::to_owned),
        templates: Vec::new(),
        replicas: option("replicas").map(|count| count.parse().unwrap()),
        env: option("colour").map(text).unwrap_or_default(),
        resources: Resources { memory: option("memory").map(|size| size.parse().unwrap()), cpu: None },
        rollout: RolloutPlan { gate, ..RolloutPlan::default() },
        drain: barge_model::manifest::Drain::default(),
        start_deadline: Millis::from_secs(60),
    }
}
