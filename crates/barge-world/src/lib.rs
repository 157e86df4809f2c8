//! What tests on a real Kubernetes begin with: a namespace of their own, a registry that the nodes can reach, images and releases of a small service.
//! And what tests of real Java programs begin with, on a Kubernetes or not: projects that Maven has built, and bases of Debian's packages.
//!
//! For tests alone, so that it says what is wrong by panicking.

// A panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bases;
mod greeter;
mod images;
mod made;
mod place;
mod projects;
mod releases;

pub use barge_testkit::cluster::own_nodes;
pub use bases::Bases;
pub use greeter::Greeter;
pub use images::{Images, greeter};
pub use place::{PATIENCE, Place, install, register};
pub use projects::JavaProject;
pub use releases::{approval, key, release};
