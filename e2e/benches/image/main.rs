//! Images of Java programs beside Jib: cold, nothing changed, one class changed, one dependency changed; and 500 dependencies. The same
//! program, the same base, the same registry, which is Barge's own; a repository for each build that has to push all.
//!
//! Jib is measured as its library in a JVM that has built images before, which is as fast as Jib gets, in a JVM of its own, which is what
//! a command line would be, and as people have it, as a plugin of Maven. `BARGE_BENCH_ROUNDS` says how often each is measured.

// A bench fails by panicking, like a test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod contenders;
mod floor;
mod maven;
mod program;
mod tables;

use std::path::{Path, PathBuf};
use std::process::Command;

use barge_testkit::TestPlatform;
use barge_world::Bases;

use crate::contenders::{Barge, Contender, Jib};
use crate::floor::Floor;
use crate::program::Program;
use crate::tables::Results;

/// How often each is measured, unless `BARGE_BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 5;
/// The dependencies of the large program.
const DEPENDENCIES: usize = 500;

/// What is measured, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    /// Nothing is in a cache, and nothing of it in the repository.
    Cold,
    /// The same, but that whoever needs the base's layers has them.
    Based,
    /// The same again.
    Unchanged,
    /// One class is another one.
    Class,
    /// One dependency is another one.
    Dependency,
}

/// What all have in common.
pub(crate) struct Stage {
    pub(crate) platform: TestPlatform,
    /// Host and port of the registry, as everybody names it.
    pub(crate) registry: String,
    /// The base's name in the registry.
    pub(crate) base: String,
    /// The class path of Jib's driver.
    pub(crate) driver: String,
    pub(crate) rounds: usize,
}

impl Stage {
    fn new() -> Self {
        let bases = Bases::new().unwrap();
        let platform = TestPlatform::start();
        let driver = driver(&platform.project("jib"));
        let registry = platform.registry.clone();
        let base = format!("{registry}/java:latest");
        let credentials = format!("barge:{}", platform.token);
        run(Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", &credentials])
            .arg(format!("oci:{}:latest", bases.java.display()))
            .arg(format!("docker://{base}")));
        let rounds = std::env::var("BARGE_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
        Self { platform, registry, base, driver, rounds }
    }
}

fn main() {
    let stage = Stage::new();
    let programs = [Program::boot(&stage), Program::large(&stage, DEPENDENCIES)];
    for program in programs {
        let mut results = Results::default();
        let mut contenders: Vec<Box<dyn Contender>> =
            vec![Box::new(Barge::new(&stage)), Box::new(Jib::warm(&stage, &program)), Box::new(Jib::cold(&stage))];
        for round in 0..stage.rounds {
            for contender in &mut contenders {
                measure(contender.as_mut(), &program, round, &mut results);
            }
            results.floor.push(Floor::measure(&program));
        }
        tables::print(&program, &contenders, &results);
    }
    maven::measure(&stage);
}

/// One contender's turn.
fn measure(contender: &mut dyn Contender, program: &Program, round: usize, results: &mut Results) {
    let repository = format!("{}-{}-{round}", program.name, contender.word());
    let mut build = |case: Case, contender: &mut dyn Contender, repository: &str| {
        let measured = contender.build(program, repository);
        eprintln!("{repository} {case:?}: {:?}, {} KiB", measured.time, measured.memory_kib);
        results.add(contender.name(), case, measured);
    };
    contender.forget();
    build(Case::Cold, contender, &format!("{repository}-cold"));
    contender.forget_all_but_base();
    build(Case::Based, contender, &repository);
    build(Case::Unchanged, contender, &repository);
    program.change_class();
    build(Case::Class, contender, &repository);
    program.change_dependency();
    build(Case::Dependency, contender, &repository);
}

/// Builds what calls Jib; the result is its class path.
fn driver(place: &Path) -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/image/jib");
    run(Command::new("cp").arg("-r").arg(sources.join(".")).arg(place));
    run(Command::new("mvn").args(["-q", "-B", "package"]).current_dir(place));
    format!("{0}/target/classes:{0}/target/dependency/*", place.display())
}

/// Runs a program that must succeed; the result is what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout.into_owned()
}

/// Every file below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}
