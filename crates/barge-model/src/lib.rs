//! The words and the decisions of Barge: names, `barge.yaml`, releases, and the three pure machines.
//!
//! * [`manifest`] reads `barge.yaml` and resolves it for one environment.
//! * [`rollout`] decides which instances of which release exist.
//! * [`registration`] decides what the traffic target is told of one instance.
//! * [`hold`] decides what the end of a process means.
//! * [`host`] tells names of this machine from others.
//!
//! What it leaves out, on purpose: IO of every kind. No tokio, Kubernetes, SQL or HTTP; the time comes in as an argument.

pub mod hold;
pub mod host;
pub mod ids;
pub mod manifest;
pub mod registration;
pub mod release;
pub mod rollout;
pub mod time;

pub use ids::{Digest, EnvironmentName, InstanceId, InvalidName, ReleaseId, ServiceKey, ServiceName};
pub use release::{Approval, Origin, Release};
pub use time::{Millis, Timestamp};
