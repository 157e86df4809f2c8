//! Registration by Barge's own protocol, which `barge gateway` takes and others adapt: one idempotent PUT that says what the instance is.
//!
//! Each change has a generation of its own, and the registry refuses earlier ones, so that nothing that is late brings an instance back.
//! The protocol knows no heartbeat: the last PUT is repeated, which changes nothing where the registry has it, and mends one that has lost
//! its state. Nor does it know an expiry: what is killed stays listed, and the registry has to see that it does not answer.
//!
//! An id that was ended is never taken again, for nobody could tell a late message from a new life. A container that is started again has
//! the id of its former run all the same, where that is written in its plan; it registers with another one.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

use super::connect::{Host, Trouble, told};
use super::course::{Call, Names, Outcome, Standing, What};
use super::handle::{Instance, Registry};
use super::secret::Credentials;
use super::web::{Site, escaped};

/// How many letters of five bits make two ids different.
const CHANCE: usize = 12;

/// One instance in a registry of the protocol.
#[derive(Debug)]
pub(super) struct Protocol {
    site: Site,
    instance: Instance,
    environment: String,
    epoch: u64,
    weight: u32,
    /// The id to register with: that of the instance, unless a former run has used that up.
    id: String,
    /// Whether this run may be registered already.
    taken: bool,
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
        let site = Site { host: Host::new(address), credentials, header: ("Authorization", "Bearer ") };
        if !instance.tags.is_empty() {
            // The protocol has no tags of its own.
            instance.meta.entry("tags".to_owned()).or_insert(instance.tags.join(","));
        }
        let id = instance.id.clone();
        Self { site, instance, environment, epoch, weight, id, taken: false }
    }

    /// Makes a call; the first one once more with another id, where a former run has ended.
    fn tell(&mut self, call: &Call, deadline: Instant) -> Result<Outcome, Trouble> {
        let mut told = self.put(call, deadline);
        if matches!(told, Ok(Outcome::Ended)) && !self.taken && self.id == self.instance.id {
            self.id = another(&self.instance.id);
            told = self.put(call, deadline);
        }
        self.taken |= matches!(told, Ok(Outcome::Done) | Err(Trouble::Failed(_)));
        told
    }

    fn put(&mut self, call: &Call, deadline: Instant) -> Result<Outcome, Trouble> {
        let state = match call.what {
            What::Tell(Standing::Ready) | What::Beat(Standing::Ready) => "online",
            What::Tell(Standing::NotReady) | What::Beat(Standing::NotReady) => "offline",
            What::Leave => "terminal",
        };
        let Instance { service, address, meta, .. } = &self.instance;
        let reached = self.site.reach(deadline)?;
        let body = json!({
            "address": told(*address, &reached.stream),
            "generation": call.generation,
            "epoch": self.epoch,
            "state": state,
            "weight": self.weight,
            "meta": meta,
        });
        let (service, id, environment) = (escaped(service), escaped(&self.id), escaped(&self.environment));
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
        let mut place = format!("the gateway at {}", self.site.host.name());
        if self.id != self.instance.id {
            let _ = write!(place, " as {}, since a former run with its id has ended", self.id);
        }
        Names { place, ready: "online", not_ready: "offline" }
    }

    fn carry_out(&mut self, call: &Call, deadline: Instant) -> Outcome {
        self.tell(call, deadline).unwrap_or_else(Outcome::from)
    }
}

/// An id that nobody has had: of the same kind where it is a ULID, which ends with chance (the ULID specification, "Layout").
fn another(id: &str) -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let is_ulid = id.len() == 26 && id.bytes().all(|byte| LETTERS.contains(&byte));
    let mut another = if is_ulid { id[..id.len() - CHANCE].to_owned() } else { format!("{id}-") };
    let mut chance = RandomState::new().hash_one(id);
    for _ in 0..CHANCE {
        another.push(char::from(LETTERS[(chance % 32) as usize]));
        chance /= 32;
    }
    another
}
