//! Registration by Barge's own protocol, which `barge gateway` takes and others adapt: one idempotent PUT that says what the instance is.
//!
//! Each change has a generation of its own, and the registry refuses earlier ones, so that nothing that is late brings an instance back.
//! The protocol knows no heartbeat: the last PUT is repeated, which changes nothing where the registry has it, and mends one that has lost
//! its state. Nor does it know an expiry: what is killed stays listed, and the registry has to see that it does not answer.

use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

use super::connect::{Trouble, told};
use super::course::{Call, Names, Outcome, Standing, What};
use super::handle::{Instance, Registry};
use super::secret::Credentials;
use super::web::{Site, escaped};

/// One instance in a registry of the protocol.
#[derive(Debug)]
pub(super) struct Protocol {
    site: Site,
    instance: Instance,
    environment: String,
    epoch: u64,
    weight: u32,
}

/// The answer to a registration that is older than the stored one (409).
#[derive(Deserialize)]
struct Older {
    generation: u64,
    terminal: bool,
}

impl Protocol {
    pub(super) fn new(
        address: String,
        environment: String,
        (epoch, weight): (u64, u32),
        credentials: Credentials,
        mut instance: Instance,
    ) -> Self {
        let site = Site { address, credentials, header: ("Authorization", "Bearer ") };
        if !instance.tags.is_empty() {
            // The protocol has no tags of its own.
            instance.meta.entry("tags".to_owned()).or_insert(instance.tags.join(","));
        }
        Self { site, instance, environment, epoch, weight }
    }

    fn put(&self, call: &Call, deadline: Instant) -> Result<Outcome, Trouble> {
        let state = match call.what {
            What::Tell(Standing::Ready) | What::Beat(Standing::Ready) => "online",
            What::Tell(Standing::NotReady) | What::Beat(Standing::NotReady) => "offline",
            What::Leave => "terminal",
        };
        let Instance { id, service, address, meta, .. } = &self.instance;
        let reached = self.site.reach(deadline)?;
        let body = json!({
            "address": told(*address, &reached.stream),
            "generation": call.generation,
            "epoch": self.epoch,
            "state": state,
            "weight": self.weight,
            "meta": meta,
        });
        let (service, id, environment) = (escaped(service), escaped(id), escaped(&self.environment));
        let path = format!("/v1/services/{service}/instances/{id}?environment={environment}");
        let said = reached.put(&path, &body.to_string())?;
        Ok(match said.status {
            200 => Outcome::Done,
            409 => match serde_json::from_str::<Older>(&said.body) {
                // Whoever has ended the instance has done what a leave is for.
                Ok(Older { terminal: true, .. }) if call.what == What::Leave => Outcome::Done,
                Ok(Older { terminal: true, .. }) => Outcome::Ended,
                Ok(Older { generation, .. }) if generation < call.generation => {
                    Outcome::Failed("a registrar with a later epoch has registered it".to_owned())
                }
                Ok(Older { generation, .. }) => Outcome::Older { stored: generation },
                Err(_) => Outcome::Failed(said.words),
            },
            _ => Outcome::Failed(said.words),
        })
    }
}

impl Registry for Protocol {
    fn names(&self) -> Names {
        Names { place: format!("the gateway at {}", self.site.address), ready: "online", not_ready: "offline" }
    }

    fn carry_out(&mut self, call: &Call, deadline: Instant) -> Outcome {
        self.put(call, deadline).unwrap_or_else(Outcome::from)
    }
}
