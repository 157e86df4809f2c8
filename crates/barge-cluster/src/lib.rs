//! What a cluster needs before services can run on it: rendered, applied, looked at, and taken away again.
//!
//! Data flow: [`Settings`] → [`render`] (pure; from the table of [`permissions`] and what [`objects`] make) → [`apply`] → [`available`].
//! [`check`] looks at what is there and judges it (pure), [`uninstall`] takes back, [`image`] makes the image that all parts run from out of
//! this very program, and [`chart`] writes the same objects as a Helm chart.
//!
//! It leaves out what the parts do, and the services themselves: those belong to people and to the operator.

pub mod apply;
mod ask;
pub mod available;
pub mod chart;
pub mod check;
pub mod image;
mod libraries;
pub mod object;
pub mod objects;
pub mod permissions;
pub mod settings;
pub mod token;
pub mod uninstall;

pub use ask::AskError;
pub use object::{Object, yaml};
pub use objects::render;
pub use settings::{Component, Settings};

/// Where the operator, the registrar and the gateway are.
pub const NAMESPACE: &str = "barge-system";
/// Who has written, as Kubernetes keeps it with each field.
pub const FIELD_MANAGER: &str = "install.barge.dev";
/// This version, which all objects carry.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
