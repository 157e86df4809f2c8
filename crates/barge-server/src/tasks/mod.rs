//! Work beside the requests: telling engines what they missed, and storing how releases ended.

mod apply;
mod outcomes;

pub(crate) use apply::Applier;
pub(crate) use outcomes::{Outcomes, explain};
