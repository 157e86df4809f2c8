//! The registrar: makes the traffic target know which instances serve.
//!
//! It is told what exists ([`WantedList`]), decides with the pure registration machine, stores every intent before the call, and tells
//! back what the target has acknowledged. Registration is reconciled state: events are hints, and the target's real list is compared
//! with the intents again and again. [`kubernetes`] is all of that for the pods of a cluster.
//!
//! [`WantedList`]: barge_model::registration::WantedList

mod audit;
mod journal;
pub mod kubernetes;
mod registrar;
pub mod targets;
mod vanished;

pub use journal::JournalError;
pub use registrar::{Registrar, RegistrarConfig, channel};
pub use targets::{
    GatewayAddress, GatewayTarget, Held, NoGatewayAddress, RegistrationTarget, RemoteGateway, TargetError,
};
