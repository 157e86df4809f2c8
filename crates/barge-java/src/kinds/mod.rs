//! Kinds of programs, a file each.

pub(crate) mod boot;
pub(crate) mod install;
pub(crate) mod jar;
pub(crate) mod quarkus;
pub(crate) mod war;
