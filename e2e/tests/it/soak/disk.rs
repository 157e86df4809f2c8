//! What lies on the disk, and how much of it is explained by what was done. What is removed, and when:
//!
//! - `engine/`: an instance's files once it has ended, an image once no release needs it that runs or is kept for a look. So there is one
//!   copy of the application for each of these; the logs beside them are rotated.
//! - `registrar/`: what is stored of an instance, once the gateway has acknowledged its end.
//! - `registry/`: an image is kept for a day, and as long as a release names it. So every push of a soak stays.
//! - everything else: barge-init, tokens, ports, put there once.
//! - the database: releases and approvals beyond the last hundred of a service, the audit after 400 days, answers to repeated requests
//!   after a day.
//! - the gateway's snapshot: that an instance has ended is remembered for a day.
//!
//! What stays is bounded by the number of commands, and everything else by the number of instances that there are at the moment.

use std::path::Path;

use super::script::{MOST, SHAPES};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Of a release with its approval, its end, what was seen of its failure, and the records of both; indexes included.
const RECORDS: u64 = 8 * KIB;
/// SQLite's log of what is not in the database's own file yet: twice the size at which it is emptied.
const DATABASE_LOG: u64 = 8 * MIB;
/// An ended instance in the gateway's snapshot.
const REMEMBERED: u64 = KIB / 2;
/// A small file: of the registrar, or of a write that was never finished because the platform was killed.
const SMALL: u64 = 4 * KIB;
/// Everything about an instance or an image that is not the application's: log, status, plan; manifest.
const BESIDES: u64 = 64 * KIB;

/// Bytes, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Disk {
    pub(super) registry: u64,
    pub(super) database: u64,
    pub(super) engine: u64,
    pub(super) registrar: u64,
    pub(super) gateway: u64,
    pub(super) others: u64,
}

/// What was done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spent {
    /// Commands that change something.
    pub(super) commands: u64,
    /// Those of them that push an image.
    pub(super) deploys: u64,
    /// How often the platform was killed.
    pub(super) platforms: u64,
}

/// What may lie there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// When every service had had its first release.
    begin: Disk,
    /// The size of the application's files.
    application: u64,
}

impl Disk {
    /// Looks at a platform's directory and its gateway's.
    pub(super) fn of(platform: &Path, gateway: &Path) -> Self {
        let mut disk = Self { gateway: size(gateway), ..Self::default() };
        for entry in std::fs::read_dir(platform).into_iter().flatten().flatten() {
            let bytes = size(&entry.path());
            match &*entry.file_name().to_string_lossy() {
                "registry" => disk.registry += bytes,
                "engine" => disk.engine += bytes,
                "registrar" => disk.registrar += bytes,
                name if name.starts_with("server.sqlite") => disk.database += bytes,
                _ => disk.others += bytes,
            }
        }
        disk
    }
}

impl Allowance {
    /// Counted from the `begin`ning; `application` is the directory of which images are made.
    pub(super) fn new(begin: Disk, application: &Path) -> Self {
        Self { begin, application: size(application) }
    }

    /// What lies there without an explanation, in words. `instances` is how many there are.
    pub(super) fn objections(&self, disk: &Disk, spent: &Spent, instances: u64) -> Vec<String> {
        let services = SHAPES.len() as u64;
        // Each service has pushed one image of its own.
        let image = self.begin.registry / services;
        // Running, at its gate, kept for a look; and one that the next collection takes.
        let images = 4 * services;
        let ended = spent.commands * u64::from(MOST + 1);
        let parts = [
            ("the registry", disk.registry, self.begin.registry + spent.deploys * (image + image / 10 + BESIDES)),
            ("the database", disk.database, self.begin.database + spent.commands * RECORDS + DATABASE_LOG),
            ("the engine", disk.engine, (instances + images) * (self.application + BESIDES)),
            ("the registrar", disk.registrar, (instances + 2 * services + spent.platforms) * SMALL),
            ("the gateway", disk.gateway, BESIDES + ended * REMEMBERED),
            ("everything else", disk.others, self.begin.others + (1 + spent.platforms) * SMALL),
        ];
        let unexplained = parts.iter().filter(|(_, bytes, allowed)| bytes > allowed);
        let words = |(what, bytes, allowed): &(&str, u64, u64)| {
            format!(
                "{what} takes {bytes} bytes, of which {allowed} are explained by {spent:?} and {instances} instances"
            )
        };
        unexplained.map(words).collect()
    }
}

/// The bytes of a file, or of all files below a directory. What is removed meanwhile counts as nothing.
fn size(path: &Path) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
}

#[test]
fn what_is_not_explained_is_named() {
    let begin = Disk { registry: 3 * MIB, database: MIB, engine: 7 * MIB, ..Disk::default() };
    let allowance = Allowance { begin, application: MIB };
    let spent = Spent { commands: 10, deploys: 4, platforms: 1 };
    let with_pushes = Disk { registry: 7 * MIB, ..begin };
    assert_eq!(allowance.objections(&with_pushes, &spent, 7), Vec::<String>::new());
    let instances_left_behind = Disk { engine: 40 * MIB, ..with_pushes };
    let told = allowance.objections(&instances_left_behind, &spent, 7);
    assert!(told.len() == 1 && told[0].starts_with("the engine takes"), "{told:?}");
    let pushed_twice = Disk { registry: 11 * MIB, ..with_pushes };
    let told = allowance.objections(&pushed_twice, &spent, 7);
    assert!(told.len() == 1 && told[0].starts_with("the registry takes"), "{told:?}");
}
