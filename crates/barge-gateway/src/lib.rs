//! The embedded gateway: routes requests to instances, and is the reference of the registration protocol.
//!
//! A request's way: `server` accepts -> `route` names service and environment -> `admission` lets it begin -> [`Table`] picks an instance ->
//! `upstream` asks it, over a `connection` of its `pool` -> `proxy` passes the `answer` on, or tries another one where that is safe.
//! Registrations come in through [`Table::put`] or over HTTP ([`api::router`]); the table writes a snapshot, from which a restarted gateway serves
//! at once.
//!
//! What it leaves out: TLS, and health checks of its own (registration says who serves).

mod admission;
mod answer;
pub mod api;
mod background;
mod body;
mod carry;
mod connection;
mod headers;
mod pool;
mod proxy;
mod route;
mod server;
mod snapshot;
mod table;
mod upstream;

pub use barge_runtime::listen::AcceptError;
pub use route::{HEADER_ENVIRONMENT, HEADER_INSTANCE, HEADER_SERVICE};
pub use server::{Gateway, GatewayConfig, ThreadsError};
pub use snapshot::SnapshotError;
pub use table::{Listed, Put, PutError, PutState, Table, Traffic};
