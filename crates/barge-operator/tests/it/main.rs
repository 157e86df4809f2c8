//! The operator's pure parts.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adopt;
mod build;
mod change;
mod cluster;
mod events;
mod kept;
mod observe;
mod world;
