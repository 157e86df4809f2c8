//! API v1: the types on the wire, and a typed client.
//!
//! The server builds its OpenAPI document from the same types. What it leaves out: every decision; this crate only carries.

mod client;
mod exec;
mod exec_connection;
mod problem;
mod types;

pub use client::{ApiError, Client, StatusStream};
pub use exec::{ExecFrame, ExecOpen};
pub use exec_connection::{ExecConnection, ExecReceiver, ExecSender};
pub use problem::{Problem, code};
pub use types::{
    AbortRequest, ApprovalRequest, AuditEntry, AuditList, Bases, CandidateView, EnvironmentList, EnvironmentView,
    FailureView, GatePolicy, InstanceList, InstanceView, LogLines, NewRelease, NewToken, ProbeView, ReleaseList,
    ReleaseState, ReleaseView, RestartRequest, RollbackRequest, RolloutAnswer, ScaleRequest, ServiceList,
    ServiceStatus, ServiceSummary, StreamEvent, TimelineView, TokenCreated, TokenList, TokenRole, TokenView, Whoami,
};
