//! OCI images without Docker: from built files to a registry, an OCI layout or a tar, and from a registry to a directory.
//!
//! A build's way: [`scan`] looks at the files, [`plan`] says purely what goes where, [`layers`] takes what the [`cache`] has and lets
//! [`layer`] write the rest, [`base`] finds what it stands on, [`image`] makes config and manifest, [`product`] the index of several,
//! [`registry`] pushes or [`layout`] writes. [`unpack`] is the way back, for the local engine.
//! Everything is reproducible to the byte: the same files give the same digest on every machine.

pub mod base;
pub mod build;
pub mod cache;
mod compress;
mod content;
pub mod detect;
mod digests;
pub mod entrypoint;
mod hash;
pub mod image;
pub mod layer;
pub mod layers;
pub mod layout;
pub mod plan;
pub mod product;
pub mod registry;
pub mod scan;
mod temporary;
pub mod unpack;

pub use build::{BuildError, build, build_all};
pub use cache::Cache;
pub use image::{Blob, Image};
pub use product::Product;
pub use registry::{Client, Credentials, Limits, Reference, RegistryError};
