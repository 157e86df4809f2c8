//! Stops every process of a service with the platform, so that the next engine starts all of them again: at once where the gateway ends
//! as well, else in order. In order means that nobody loses a request: an instance is told to stop once the traffic target has acknowledged
//! it offline, and then has as long as its drain settings give it.

use std::time::Duration;

use barge_init::StopRequest;
use barge_model::InstanceId;
use barge_model::manifest::Drain;
use barge_model::rollout::InstancePhase;
use barge_runtime::chain;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::act::{release_of, stop_request};
use super::{IDLE, Leave, Service, of};
use crate::instance;
use crate::observe::Process;

/// A service that stops with its platform.
pub(super) struct Leaving {
    orderly: bool,
    patience: Duration,
    /// What runs then is left as it is.
    until: Instant,
    done: oneshot::Sender<bool>,
}

impl Service {
    /// Begins: stored first, so that these ends are nobody's crash.
    pub(super) async fn leave(&mut self, leave: Leave) {
        // What is being prepared has not been started: that happens in this task alone.
        self.preparing.shutdown().await;
        for (id, instance) in &mut self.instances {
            if instance.phase() == InstancePhase::Held && instance.record.failed.is_none() {
                // The scene of a failed start outlives the barge-init that holds it (I7).
                let reason = instance.status.as_ref().and_then(|status| status.reason.clone());
                instance.record.failed = Some(reason.unwrap_or_else(|| "its start failed".to_owned()));
            }
            instance.record.suspended = true;
            if let Err(error) = self.store.put_record(&instance.record) {
                tracing::warn!(instance = %id, error = chain(&error), "this stop will count as a crash");
            }
            match instance.process {
                Process::Running => {}
                // Nobody asks for an acknowledgement, so nobody has to know what it is.
                Process::Adopting if !leave.orderly => instance.process = Process::Running,
                Process::Adopting => {}
                _ => instance.process = Process::New,
            }
        }
        let Leave { orderly, patience, done } = leave;
        self.leaving = Some(Leaving { orderly, patience, until: Instant::now() + patience, done });
        if !orderly {
            for id in self.running() {
                self.stop_with_the_platform(&id);
            }
        }
    }

    /// Tells those to stop that have no traffic any more; the answer is how long to wait for the next change.
    pub(super) fn go_on_leaving(&mut self) -> Duration {
        // Of a list that is not complete yet nobody is told.
        if self.empties_itself() && !self.instances.values().any(|instance| instance.process == Process::Adopting) {
            self.publish_wanted();
            let acknowledgements = self.acknowledgements();
            for id in self.running() {
                let untold = self.instances.get(&id).is_some_and(|instance| !instance.stop_sent);
                if untold && of(&acknowledgements, &id).offline {
                    self.stop_with_the_platform(&id);
                }
            }
        }
        let until = self.leaving.as_ref().map_or_else(Instant::now, |leaving| leaving.until);
        until.saturating_duration_since(Instant::now()).min(IDLE)
    }

    /// An instance that says that it still runs has not taken the stop in: it may have come before barge-init listened.
    pub(super) fn heard_while_leaving(&mut self, id: &InstanceId, stopping: bool) {
        let at_once = self.leaving.as_ref().is_some_and(|leaving| !leaving.orderly);
        if let Some(instance) = self.instances.get_mut(id) {
            instance.stop_sent &= stopping;
        }
        if at_once && !stopping {
            self.stop_with_the_platform(id);
        }
    }

    /// Whether nothing runs any more, or has to be left as it is; whoever asked is told.
    pub(super) fn has_left(&mut self) -> bool {
        let Some(leaving) = &self.leaving else { return false };
        let runs = self.instances.values().any(|i| matches!(i.process, Process::Running | Process::Adopting));
        if runs && Instant::now() < leaving.until {
            return false;
        }
        if let Some(leaving) = self.leaving.take() {
            // Whoever asked may have lost his patience.
            let _ = leaving.done.send(!runs);
        }
        true
    }

    /// Whether instances are to be taken out of traffic, all of them.
    pub(super) fn empties_itself(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.orderly)
    }

    fn running(&self) -> Vec<InstanceId> {
        let running = self.instances.iter().filter(|(_, instance)| instance.process == Process::Running);
        running.map(|(id, _)| id.clone()).collect()
    }

    fn stop_with_the_platform(&mut self, id: &InstanceId) {
        let longest = self.longest_stop();
        let Some(leaving) = &mut self.leaving else { return };
        leaving.until = Instant::now() + leaving.patience + longest;
        let orderly = leaving.orderly;
        let Some(instance) = self.instances.get_mut(id) else { return };
        instance.stop_sent = true;
        let in_order =
            stop_request(&self.key, instance, release_of(&self.status, &instance.record.release), &self.shared);
        let request = match orderly {
            true => in_order,
            // Nobody asks any more, so there is no silence to wait for.
            false => StopRequest { traffic: None, url: None, quiet_ms: 0, limit_ms: 0, ..in_order },
        };
        self.watches.spawn(instance::stop(self.store.instance_directory(id), request));
    }

    /// How long the slowest instance may take by its release's settings.
    fn longest_stop(&self) -> Duration {
        let orderly = self.empties_itself();
        let drains = self.status.sets.iter().map(|set| &set.release.config.drain);
        let spans = drains.map(|drain| {
            let wait = if orderly { drain.limit.as_duration() } else { Duration::ZERO };
            wait + drain.grace.as_duration()
        });
        // What belongs to no release any more is stopped by the defaults.
        let default = Drain::default();
        spans.max().unwrap_or(default.limit.as_duration() + default.grace.as_duration())
    }
}
