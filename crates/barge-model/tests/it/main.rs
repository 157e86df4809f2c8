//! Tests of the model.
mod manifest;
