//! What the instances' barge-inits say, and what their ends mean. The decision itself is `hold::verdict`'s.

use barge_init::{Phase, Status};
use barge_model::hold::{Ended, Verdict, verdict};
use barge_model::rollout::Role;
use barge_model::{InstanceId, Millis, Timestamp};

use super::{Service, act};
use crate::engine::now;
use crate::instance::{self, Gone, News};
use crate::observe::{Instance, Process, Trouble, ending};

/// An instance that has run well for so long is given its first, short back-offs again.
const GOOD_RUN: Millis = Millis::from_secs(600);

impl Service {
    pub(super) fn take_news(&mut self, news: News) {
        match news {
            News::Status { id, run, status } => self.heard(&id, run, *status),
            News::Silent { id, run } => {
                if let Some(instance) = self.instances.get_mut(&id).filter(|instance| instance.run == run) {
                    tracing::warn!(key = %self.key, instance = %id, "its barge-init is there and says nothing");
                    if instance.process == Process::Adopting {
                        instance.process = Process::Running;
                    }
                }
            }
            News::Gone { id, run, gone } => self.gone(&id, run, *gone),
        }
    }

    fn heard(&mut self, id: &InstanceId, run: u64, status: Status) {
        let role = self.role_of(id);
        let Some(instance) = self.instances.get_mut(id).filter(|instance| instance.run == run) else { return };
        if instance.process == Process::Adopting {
            tracing::info!(key = %self.key, instance = %id, "adopted");
            instance.process = Process::Running;
            // The engine that started it may have had no time to note that.
            instance.record.suspended = self.leaving.is_some();
        }
        instance.attempts = 0;
        instance.trouble = None;
        let held = status.phase == Phase::Held;
        let stopping = matches!(status.phase, Phase::Stopping | Phase::Ended);
        instance.status = Some(status);
        if self.leaving.is_some() {
            self.heard_while_leaving(id, stopping);
            return;
        }
        // A stop may have come before barge-init listened. Once more does no harm.
        instance.stop_sent &= stopping;
        // barge-init holds every failed start. Where another try is due, it is told to end, and its end brings the next start.
        let again = held && !instance.record.draining && matches!(judge(instance, false, role), Verdict::Restart(_));
        if again && !instance.again {
            instance.again = true;
            self.watches.spawn(instance::stop(self.store.instance_directory(id), act::at_once()));
        }
    }

    /// An instance's barge-init is gone, and so is everything below it.
    fn gone(&mut self, id: &InstanceId, run: u64, gone: Gone) {
        let role = self.role_of(id);
        let Some(instance) = self.instances.get_mut(id).filter(|instance| instance.run == run) else { return };
        instance.again = false;
        if instance.record.suspended {
            instance.status = gone.last;
            instance.process = if instance.record.failed.is_some() { Process::Failed } else { Process::New };
            return;
        }
        match gone.last {
            Some(last) => ended(instance, last, role),
            None if gone.was_started => {
                self.not_started(id, Trouble::passing(gone.reason));
                return;
            }
            // The engine ended between its decision and the start.
            None => instance.process = Process::New,
        }
        self.note(id);
    }
}

fn ended(instance: &mut Instance, last: Status, role: Role) {
    let (was_ready, phase) = (last.was_ready, last.phase);
    let good = good_run(&last);
    instance.ending = Some(last.ending.map_or(barge_model::hold::Ending::Unknown, ending));
    instance.status = Some(last);
    if instance.record.draining {
        instance.process = Process::New;
        return;
    }
    // A scene that is kept for people stays one, whatever becomes of its barge-init.
    if phase == Phase::Held && role != Role::Stable {
        instance.fail("its start failed, and its barge-init is gone since");
        return;
    }
    if good {
        instance.record.quick_ends = 0;
    }
    match judge(instance, was_ready, role) {
        Verdict::Gone => {
            instance.record.draining = true;
            instance.process = Process::New;
        }
        Verdict::Hold => instance.fail("it was ended before it was ready"),
        Verdict::Restart(pause) => {
            instance.record.quick_ends = instance.record.quick_ends.saturating_add(1);
            instance.record.restarts += 1;
            instance.process = Process::BackOff(now().plus(pause));
        }
    }
}

fn judge(instance: &Instance, was_ready: bool, role: Role) -> Verdict {
    let stopping = instance.record.draining;
    verdict(Ended { role, stopping, was_ready, restarts: instance.record.quick_ends })
}

fn good_run(last: &Status) -> bool {
    let span = |status: &Status| {
        let (first, end) = (status.timeline.first()?, status.timeline.last()?);
        Some(Timestamp::from_millis(end.at).since(Timestamp::from_millis(first.at)))
    };
    // A killed barge-init has written no end; its file then tells of a shorter run than it was.
    last.was_ready && span(last).is_some_and(|span| span >= GOOD_RUN)
}
