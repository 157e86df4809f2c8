//! A server over a fake engine, called as its callers call it; every answer is held against the OpenAPI document.

mod harness;
mod schema;

pub(crate) use harness::{Answer, Harness, SERVICE, eventually, operations, release};
pub(crate) use schema::mismatch;
