//! The Engine port over the custom resources of a Kubernetes cluster: the server uses a cluster as it uses the local engine.
//!
//! Data flow: [`Desired`](barge_engine::Desired) → `desired`, what is to be written → `apply` → the custom resource, with which the operator goes on.
//! Watches → `views` → `report`, `instance` → reports. `logs` and `exec` serve people. `desired`, `report`, `instance` and [`namespaces`] are
//! pure. [`engine`] owns the tasks.
//!
//! It leaves out every decision about instances: those are the operator's, whose status it reads and never writes.

mod apply;
mod desired;
pub mod engine;
mod exec;
pub mod images;
mod instance;
mod logs;
pub mod namespaces;
mod report;
mod views;

pub use engine::{KubernetesEngine, Settings, StartError};
pub use images::Images;
pub use namespaces::NamespacePattern;
