//! Tests of the gateway: over real sockets, on this machine alone.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod blame;
mod drain;
mod forwarding;
mod fuzz;
mod lacks;
mod leaving;
mod odd_requests;
mod old_instances;
mod recorder;
mod registration;
mod retries;
mod room;
mod routing;
mod smuggling;
mod smuggling_http2;
mod snapshot;
mod stalls;
mod support;
mod threads;
mod upgrades;
