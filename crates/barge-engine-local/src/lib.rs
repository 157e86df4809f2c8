//! The local engine: instances are processes on this machine, each under a barge-init of its own.
//!
//! One task for each service ([`service`]) observes, calls the pure rollout step, stores the decision and carries it out. `store` keeps
//! everything in files, `instance` starts and watches barge-init, `images` fetches what runs, `addresses` gives each instance an
//! address of its own, `limits` asks cgroups, `logs` and `exec` serve people. An instance outlives the engine; the next one adopts it by
//! what is stored and by what answers, never by a process id.

mod addresses;
mod durable;
mod engine;
mod environment;
mod exec;
mod images;
mod instance;
mod limits;
mod logs;
mod observe;
mod service;
mod store;

pub use addresses::AddressError;
pub use engine::{LocalEngine, LocalEngineConfig, OpenError, TrafficEndpoint};
pub use store::StoreError;
