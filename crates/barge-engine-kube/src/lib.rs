//! The Engine port over the custom resources of a Kubernetes cluster.
