//! Deployments that are read. One that is adopted on a real Kubernetes, `barge-cli` has among its tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod carried;
mod lost;
mod refused;
mod support;
