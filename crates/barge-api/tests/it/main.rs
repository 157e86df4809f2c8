//! Tests of the wire types and of the client, against a listener that answers what a test wants.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod frames;
