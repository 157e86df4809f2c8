//! Deployments that are read, and one that is adopted on a real Kubernetes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
