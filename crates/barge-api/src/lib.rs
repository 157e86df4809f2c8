//! API v1: the types on the wire, and a typed client.
//!
//! The server builds its OpenAPI document from the same types. What it leaves out: every decision; this crate only carries.

mod client;
mod exec;
mod problem;
mod types;

pub use client::{ApiError, Client, ExecConnection, StatusStream};
pub use exec::{ExecFrame, ExecOpen};
pub use problem::{Problem, code};
pub use types::{
    AbortRequest, ApprovalRequest, CandidateView, EnvironmentView, FailureView, InstanceView, NewRelease, NewToken,
    ReleaseList, ReleaseState, ReleaseView, RestartRequest, RolloutAnswer, RollbackRequest, ScaleRequest, ServiceList,
    ServiceStatus, ServiceSummary, TokenCreated, TokenList, TokenRole, TokenView, Whoami, EnvironmentList, InstanceList,
    LogLines, ProbeView, TimelineView,
};
