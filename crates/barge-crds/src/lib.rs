//! The custom resources of Barge on Kubernetes: `WebService` and `RpcService`, group `barge.dev`.
//!
//! Types, and what is read from them. [`spec`] is what people want, [`status`] what the operator has decided and seen, [`convert`] the way to and from the machines of
//! `barge-model`, [`pod`] what their pods say; [`values`] are the texts and numbers that Kubernetes' users expect. The definitions in `crds/*.yaml` are generated from
//! here, and a test holds them together.
//!
//! It leaves out who writes what: the server writes specs and the operator statuses, each with a field manager of its own.

pub mod convert;
pub mod kinds;
pub mod names;
pub mod pod;
pub mod spec;
pub mod status;
pub mod values;

pub use convert::Nonsense;
pub use kinds::{RpcService, RpcServiceSpec, ServiceResource, WebService, WebServiceSpec, definitions};
pub use spec::{ReleaseSpec, ServiceSpec};
pub use status::ServiceStatus;

/// The group of the resources, and the beginning of the labels and annotations of what they own.
pub const GROUP: &str = "barge.dev";
