//! What is rendered, how a cluster is judged, and what each part may do on a real one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chart;
mod judge;
mod missing;
mod permissions;
mod render;
mod uninstall;
