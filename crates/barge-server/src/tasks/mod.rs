//! Work beside the requests: telling engines what they missed, storing how releases ended, and forgetting what is too old.

mod apply;
mod forget;
mod outcomes;

pub(crate) use apply::Applier;
pub(crate) use forget::Forgetting;
pub(crate) use outcomes::{Outcomes, explain};
