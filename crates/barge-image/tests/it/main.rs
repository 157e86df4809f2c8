//! Tests of images: built, pushed, pulled, unpacked.

// Tests say what they expect by panicking; helper functions outside of #[test] are tests as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod base;
mod cache;
mod child;
mod credentials;
mod damaged;
mod detect;
mod faults;
mod layers;
mod limits;
mod lock;
mod outputs;
mod peer;
mod platforms;
mod push;
mod real;
mod reference;
mod referrers;
mod scan;
mod support;
mod unpack;
