//! Registration in Consul: a service with a check that has to be passed again and again (a TTL check), at the HTTP API of a Consul agent.
//!
//! An instance that is not ready stays registered and fails its check. One that is killed fails it by itself, and is removed by Consul
//! after a while, as is a registration that a hanging agent takes in after the instance has left. An agent that has lost its services does
//! not know the check of the next heartbeat, and is told everything anew.

use std::time::{Duration, Instant};

use serde_json::json;

use super::connect::{Host, Trouble};
use super::course::{Call, Names, Outcome, Standing, What};
use super::handle::{Instance, Registry};
use super::secret::Credentials;
use super::web::{Said, Site, escaped};

/// The longest reason that is told, in letters: it stands in the request's line.
const LONGEST_NOTE: usize = 500;

/// One service instance in Consul.
#[derive(Debug)]
pub(super) struct Consul {
    site: Site,
    instance: Instance,
    deregister_after: Duration,
    /// Whether the agent has the service, as far as we know.
    known: bool,
}

impl Consul {
    pub(super) fn new(
        address: String,
        deregister_after: Duration,
        credentials: Credentials,
        instance: Instance,
    ) -> Self {
        let site = Site { host: Host::new(address), credentials, header: ("X-Consul-Token", "") };
        Self { site, instance, deregister_after, known: false }
    }

    fn tell(&mut self, standing: Standing, call: &Call, deadline: Instant) -> Result<Outcome, Trouble> {
        if self.known {
            match self.beat(standing, call, deadline)? {
                Outcome::Forgotten => {}
                outcome => return Ok(outcome),
            }
        }
        let definition = self.definition(standing);
        let said = self.site.put("/v1/agent/service/register", &definition, deadline)?;
        if said.status != 200 {
            return Ok(Outcome::Failed(said.words));
        }
        self.known = true;
        if standing == Standing::NotReady {
            // It fails already; this says why. Heartbeats say it again, so that it does not matter should it fail.
            let _ = self.update(standing, call, deadline);
        }
        Ok(Outcome::Done)
    }

    fn beat(&mut self, standing: Standing, call: &Call, deadline: Instant) -> Result<Outcome, Trouble> {
        let said = self.update(standing, call, deadline)?;
        self.known = !is_unknown(&said);
        Ok(match said.status {
            200 => Outcome::Done,
            _ if is_unknown(&said) => Outcome::Forgotten,
            _ => Outcome::Failed(said.words),
        })
    }

    fn leave(&mut self, deadline: Instant) -> Result<Outcome, Trouble> {
        let path = format!("/v1/agent/service/deregister/{}", escaped(&self.instance.id));
        let said = self.site.put(&path, "", deadline)?;
        Ok(match said.status {
            200 | 404 => Outcome::Done,
            _ if said.body.contains("Unknown service") => Outcome::Done,
            _ => Outcome::Failed(said.words),
        })
    }

    /// Passes or fails the check.
    fn update(&mut self, standing: Standing, call: &Call, deadline: Instant) -> Result<Said, Trouble> {
        let (verb, note) = match standing {
            Standing::Ready => ("pass", "ready"),
            Standing::NotReady => ("fail", call.reason.as_str()),
        };
        let note: String = note.chars().take(LONGEST_NOTE).collect();
        let check = escaped(&self.check());
        self.site.put(&format!("/v1/agent/check/{verb}/{check}?note={}", escaped(&note)), "", deadline)
    }

    /// The name that Consul itself gives the only check of a service.
    fn check(&self) -> String {
        format!("service:{}", self.instance.id)
    }

    fn definition(&self, standing: Standing) -> String {
        let Instance { id, service, address, tags, meta, ttl } = &self.instance;
        let mut definition = json!({
            "ID": id,
            "Name": service,
            "Port": address.port(),
            "Tags": tags,
            "Meta": meta,
            "Check": {
                "CheckID": self.check(),
                "Name": "readiness",
                "Notes": "told by barge-init",
                "TTL": format!("{}ms", ttl.as_millis()),
                "Status": if standing == Standing::Ready { "passing" } else { "critical" },
                "DeregisterCriticalServiceAfter": format!("{}ms", self.deregister_after.as_millis()),
            },
        });
        // Without one, Consul tells the address of its own node, which is what an instance that listens everywhere has.
        if !address.ip().is_unspecified() {
            definition["Address"] = address.ip().to_string().into();
        }
        definition.to_string()
    }
}

impl Registry for Consul {
    fn names(&self) -> Names {
        Names { place: format!("Consul at {}", self.site.host.name()), ready: "passing", not_ready: "failing" }
    }

    fn carry_out(&mut self, call: &Call, deadline: Instant) -> Outcome {
        let done = match call.what {
            What::Tell(standing) => self.tell(standing, call, deadline),
            What::Beat(standing) => self.beat(standing, call, deadline),
            What::Leave => self.leave(deadline),
        };
        done.unwrap_or_else(Outcome::from)
    }
}

/// Whether Consul does not have the check: 404 or, in older versions, 500. Nothing is lost by registering anew after another 500.
fn is_unknown(said: &Said) -> bool {
    matches!(said.status, 404 | 500)
}
