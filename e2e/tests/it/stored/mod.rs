//! What the platform's parts have stored, one moment after the other, and whether that was allowed.

mod judge;
mod mutants;
mod record;

pub(crate) use judge::judge;
pub(crate) use record::Record;
