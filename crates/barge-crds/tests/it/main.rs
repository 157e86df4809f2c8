//! The custom resources: generated, converted, and on a real Kubernetes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod conversions;
mod definitions;
mod support;
