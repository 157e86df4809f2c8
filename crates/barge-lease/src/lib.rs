//! One of several replicas works, the others wait: a Lease of Kubernetes (`coordination.k8s.io/v1`), and a fence for whoever has lost it.
//!
//! Data flow: the Lease as it was read → [`election::decide`] → a write in the version that was read → [`Tenure`]. `election` is pure; [`lead`]
//! carries it out; [`fence`] lets no write through whose tenure is over; [`watch`] tells others how the holder is.
//!
//! Nobody compares clocks of two machines: a Lease counts as expired when it has not changed for its whole duration on one's own clock, as client-go
//! has it. It leaves out what is done with the lead.

pub mod clock;
pub mod election;
pub mod fence;
mod lead;
mod tenure;
mod watch;

pub use fence::Fence;
pub use lead::{Holder, LeaseError, lead};
pub use tenure::Tenure;
pub use watch::{Health, watch};

/// What the holder says of itself, beside the Lease: empty where all is well.
pub const HEALTH: &str = "barge.dev/health";
