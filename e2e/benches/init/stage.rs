//! What every case and figure needs: the programs, a directory for each run, the business process's words, a port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::container::{Container, eventually, numbers};
use crate::systems::{Place, System, Wanted};

/// The programs under test.
pub(crate) struct Programs {
    directory: TempDir,
}

impl Programs {
    /// Puts barge-init down as it goes into images, and compiles the business process.
    pub(crate) fn new() -> Self {
        let this = Self { directory: TempDir::new().unwrap() };
        barge_entrypoint::place(&this.barge_init()).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/init/business.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-static", "-Wall", "-o"]).arg(this.business()).arg(source);
        let done = compiler.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        this
    }

    pub(crate) fn barge_init(&self) -> PathBuf {
        self.directory.path().join("barge-init")
    }

    pub(crate) fn business(&self) -> PathBuf {
        self.directory.path().join("business")
    }
}

/// One run of one system.
pub(crate) struct Stage<'a> {
    pub(crate) system: System,
    programs: &'a Programs,
    directory: TempDir,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(system: System, programs: &'a Programs) -> Self {
        Self { system, programs, directory: TempDir::new().unwrap() }
    }

    /// Another run of the same system, in a directory of its own.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.system, self.programs)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the business process has written down.
    pub(crate) fn told(&self) -> Vec<i64> {
        numbers(&self.path("told"))
    }

    /// The business process in one of its modes; `TOLD` stands for the file in which it writes down what it finds.
    pub(crate) fn business(&self, arguments: &[&str]) -> Vec<String> {
        let told = self.path("told").display().to_string();
        let arguments = arguments.iter().map(|word| if *word == "TOLD" { told.clone() } else { (*word).to_owned() });
        std::iter::once(self.programs.business().display().to_string()).chain(arguments).collect()
    }

    /// The words with which the system runs what is wanted.
    pub(crate) fn command(&self, wanted: &Wanted) -> Vec<String> {
        let (business, program) = (self.programs.business(), self.programs.barge_init());
        self.system.command(&Place { directory: self.directory.path(), business: &business, program: &program }, wanted)
    }

    /// Bytes of the system.
    pub(crate) fn size(&self) -> u64 {
        let (business, program) = (self.programs.business(), self.programs.barge_init());
        self.system.size(&Place { directory: self.directory.path(), business: &business, program: &program })
    }

    pub(crate) fn start(&self, wanted: &Wanted) -> Container {
        Container::start(&self.command(wanted))
    }

    /// Starts the business process in one of its modes.
    pub(crate) fn run(&self, arguments: &[&str]) -> Container {
        self.start(&Wanted { command: self.business(arguments), ..Wanted::default() })
    }

    /// The same, once the business process has written something down.
    pub(crate) fn run_until_told(&self, arguments: &[&str]) -> Container {
        let container = self.run(arguments);
        eventually("a word of the business process", || (!self.told().is_empty()).then_some(()));
        container
    }

    /// The processes of the container that are the system's own.
    pub(crate) fn own_processes(&self, container: &Container) -> Vec<u32> {
        let business = self.programs.business();
        let is_business = |pid: &u32| program(*pid).is_some_and(|path| path == business);
        container.processes().into_iter().filter(|pid| !is_business(pid)).collect()
    }
}

fn program(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).ok()
}

/// A port on which nobody listens.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
