//! The Engine port: what the server asks of whatever runs instances.
//!
//! Two implementations exist: the local engine, and Kubernetes. An engine is given the desired state and works towards it by itself;
//! the server is not needed for that. [`conformance`] is the one suite that every engine passes.

pub mod conformance;
mod exec;
mod logs;
mod port;

pub use exec::{ExecInput, ExecOutput, ExecRequest, ExecSession, WindowSize};
pub use logs::{LogLine, LogOptions, LogStream};
pub use port::{Desired, Engine, EngineError, InstanceReport, LimitsReport, ProbeReport, ServiceReport, TimelineStep};
