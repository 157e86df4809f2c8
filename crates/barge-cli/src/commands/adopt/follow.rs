//! Staying with an adoption: until its gate, until the whole place is taken, until it is given back. It goes on without us.

use std::time::Duration;

use barge_adopt::{Adopted, ServiceError, approve, find, forget, undo};
use barge_crds::ServiceStatus;
use barge_crds::status::OutcomeStatus;
use serde_json::json;
use tokio::time::Instant;

use super::{Args, Place};
use crate::commands::cluster::connection::failure;
use crate::failure::{Failure, Kind};
use crate::terminal::{Activity, Style};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);

impl Place {
    /// Lets the others follow.
    pub(super) async fn approve(&self, args: &Args) -> Result<(), Failure> {
        let adopted = self.find(args).await?;
        let who = self.who().await;
        approve(&self.client, &self.namespace, &adopted, &who)
            .await
            .map_err(|error| self.not_approved(args, &error))?;
        self.terminal.note(&format!("approved by {}; the other instances follow", who.name));
        if !args.no_wait {
            self.follow(args, |adopted| Ok(condition(&adopted.status).is_some_and(|(_, over, _)| over)), |_| true)
                .await?;
        }
        let name = &args.deployment;
        let document = json!({ "service": adopted.name, "state": if args.no_wait { "approved" } else { "complete" } });
        self.terminal.data(&document, |_| match args.no_wait {
            true => format!("the Deployment {name} gives its place to the service {}", adopted.name),
            false => format!(
                "the service {} has the place of the Deployment {name}, which has no instances any more",
                adopted.name
            ),
        })
    }

    /// Gives the place back.
    pub(super) async fn undo(&self, args: &Args) -> Result<(), Failure> {
        let adopted = self.find(args).await?;
        undo(&self.client, &self.namespace, &adopted).await.map_err(|error| failure(&error))?;
        let mut state = "returning";
        if !args.no_wait {
            let back = |adopted: &Adopted| Ok(condition(&adopted.status).is_some_and(|(word, ..)| word == "GivenBack"));
            self.follow(args, back, |_| false).await?;
            state = "given_back";
            if !adopted.has_server() {
                forget(&self.client, &self.namespace, &adopted).await.map_err(|error| failure(&error))?;
            }
        }
        let (name, service) = (&args.deployment, &adopted.name);
        self.terminal.data(&json!({ "service": service, "state": state }), |_| match (args.no_wait, adopted.has_server()) {
            (true, _) => format!("the Deployment {name} comes back, and then the service {service} goes"),
            (false, false) => format!("the Deployment {name} has its place again; the service {service} is gone"),
            (false, true) => {
                format!("the Deployment {name} has its place again; the service {service} has no instances, and stays with its platform")
            }
        })
    }

    /// Until the first instance is at its gate, or there is none.
    pub(super) async fn until_the_gate(&self, args: &Args) -> Result<&'static str, Failure> {
        let reached =
            |adopted: &Adopted| Ok(adopted.status.waiting_on.on == "approval" || adopted.status.stable.is_some());
        let adopted = self.follow(args, reached, |_| true).await?;
        Ok(if adopted.status.stable.is_some() { "complete" } else { "gate" })
    }

    async fn follow(
        &self,
        args: &Args,
        reached: impl Fn(&Adopted) -> Result<bool, Failure>,
        may_fail: impl Fn(&Adopted) -> bool,
    ) -> Result<Adopted, Failure> {
        let end = Instant::now() + Duration::from_millis(args.timeout.0);
        let activity = self.terminal.activity();
        let mut last = String::new();
        loop {
            let adopted = self.find(args).await?;
            if reached(&adopted)? {
                return Ok(adopted);
            }
            if may_fail(&adopted)
                && let Some(failed) = failed(&adopted)
            {
                return Err(failed.hint(format!("`{}` takes the service away again", args.again(self, "--undo"))));
            }
            show(&activity, &adopted.status, &mut last);
            if Instant::now() > end {
                let seen = if adopted.status.observed_generation == 0 {
                    "no operator has looked at it".to_owned()
                } else {
                    last
                };
                return Err(Failure::new(
                    Kind::TimedOut,
                    format!("waited {} in vain: {seen}", crate::terminal::span(args.timeout)),
                )
                .hint("it goes on without this command; `barge cluster check` looks at the operator"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn find(&self, args: &Args) -> Result<Adopted, Failure> {
        let found = find(&self.client, &self.namespace, &args.deployment).await;
        found.map_err(|error| match &error {
            ServiceError::NotAdopted(_) => {
                Failure::from_error(Kind::Refused, &error).hint(format!("`{}` begins", args.again(self, "").trim_end()))
            }
            error => failure(error),
        })
    }

    fn not_approved(&self, args: &Args, error: &ServiceError) -> Failure {
        match error {
            ServiceError::NotAtGate(_) => Failure::from_error(Kind::Refused, error)
                .hint(format!("`kubectl get webservices,rpcservices -n {}` shows how it stands", self.namespace)),
            _ => failure(error).context(&format!("approve what takes the place of {}", args.deployment)),
        }
    }
}

/// The adoption's own condition: in one word, whether it is over, and as a sentence.
fn condition(status: &ServiceStatus) -> Option<(&str, bool, &str)> {
    let found = status.conditions.iter().find(|condition| condition.type_ == "Adopted")?;
    Some((&found.reason, found.status == "True", &found.message))
}

fn show(activity: &Activity, status: &ServiceStatus, last: &mut String) {
    let adoption = condition(status).map(|(_, _, sentence)| format!("{sentence}; ")).unwrap_or_default();
    // Why one does not become ready is what people wait to know.
    let reason = status.instances.iter().find_map(|instance| instance.reason.as_deref()?.lines().next());
    let reason = reason.map(|reason| format!("; {reason}")).unwrap_or_default();
    let sentence = format!("{adoption}{}{reason}", status.waiting_on.message);
    if sentence != *last && status.observed_generation > 0 {
        activity.line(Style::Dim, &sentence);
        activity.now(&sentence);
        *last = sentence;
    }
}

/// Why there will be no gate.
fn failed(adopted: &Adopted) -> Option<Failure> {
    let status = &adopted.status;
    if let Some(nonsense) = status.conditions.iter().find(|one| one.type_ == "Accepted" && one.status == "False") {
        return Some(Failure::new(
            Kind::General,
            format!("the operator does not accept the service: {}", nonsense.message),
        ));
    }
    let release = adopted.spec.release.as_ref()?;
    let end = status.history.iter().rev().find(|end| end.release == release.id)?;
    let what = match end.outcome {
        OutcomeStatus::Promoted => return None,
        OutcomeStatus::StartFailed => "its first instance could not start",
        OutcomeStatus::DeadlineExceeded => "its instances were not available in time",
        OutcomeStatus::Aborted | OutcomeStatus::RolledBack => "somebody has taken it back",
        OutcomeStatus::Superseded => "a newer release has taken its place",
    };
    let reasons = status.instances.iter().filter(|one| one.release == release.id).filter_map(|one| one.reason.clone());
    let reasons: Vec<String> =
        reasons.flat_map(|reason| reason.lines().map(|line| format!("  {line}")).collect::<Vec<_>>()).collect();
    Some(Failure::new(Kind::Release, format!("{what}; the Deployment serves as before")).details(reasons))
}
