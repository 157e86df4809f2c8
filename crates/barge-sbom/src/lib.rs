//! What a Java program is made of, as documents that others read: CycloneDX and SPDX. And where its code came from: the commit, and
//! whether anything was changed since.
//!
//! [`libraries`] looks into the planned layers, [`bill`] joins what was found, [`cyclonedx`] and [`spdx`] write it; [`git`] asks for the
//! commit, [`provenance`] writes that. The documents of one image are the same bytes wherever they are made: no clock, no chance. It
//! leaves out licences and vulnerabilities, for which scanners read these documents, and how they get into a registry (`barge-image`).

pub mod bill;
pub mod coordinates;
pub mod cyclonedx;
pub mod git;
mod identifier;
pub mod libraries;
pub mod provenance;
pub mod spdx;
mod well_known;

pub use bill::{Base, Bill};
pub use coordinates::Coordinates;
pub use git::Commit;
pub use libraries::{Found, Library, LibraryError, Source};
