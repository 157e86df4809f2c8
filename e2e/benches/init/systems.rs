//! The systems, and how each is told what to run: here those that are told in words, in `supervisors` those that read files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::supervisors;

/// From SIGTERM to SIGKILL, where that can be said.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// What runs as PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    BargeInit,
    Tini,
    /// What docker brings along as docker-init; the same in all but the figures.
    TiniStatic,
    DumbInit,
    S6,
    /// runit's supervisor of one service alone, without the one of many.
    Runsv,
    Runsvdir,
    Supervisord,
}

/// What a case has it run, and what for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// The business process.
    pub(crate) command: Vec<String>,
    /// A process beside it.
    pub(crate) helper: Option<Vec<String>>,
    /// Signals are for the process alone, not for its group.
    pub(crate) to_process_alone: bool,
    /// The business process is ready once this port accepts connections, and a start that fails is to be held.
    pub(crate) hold: Option<u16>,
    /// Requests in flight are told on this port, and a stop waits until there are none.
    pub(crate) drain: Option<u16>,
    /// Nothing is wanted but that it runs: what can be left out is left out.
    pub(crate) bare: bool,
}

/// Where things are put for one run of one system.
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    /// The business process's program.
    pub(crate) business: &'a Path,
    /// barge-init.
    pub(crate) program: &'a Path,
}

impl System {
    pub(crate) const ALL: [Self; 8] = [
        Self::BargeInit,
        Self::Tini,
        Self::TiniStatic,
        Self::DumbInit,
        Self::S6,
        Self::Runsv,
        Self::Runsvdir,
        Self::Supervisord,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BargeInit => "barge-init",
            Self::Tini => "tini",
            Self::TiniStatic => "tini-static",
            Self::DumbInit => "dumb-init",
            Self::S6 => "s6",
            Self::Runsv => "runit (runsv)",
            Self::Runsvdir => "runit (runsvdir)",
            Self::Supervisord => "supervisord",
        }
    }

    /// The programs that it consists of, besides the business process; barge-init is put down by the bench.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::BargeInit => &[],
            Self::Tini => &["tini"],
            Self::TiniStatic => &["tini-static"],
            Self::DumbInit => &["dumb-init"],
            Self::S6 => &["s6-svscan", "s6-supervise"],
            Self::Runsv => &["runsv"],
            Self::Runsvdir => &["runsvdir", "runsv"],
            Self::Supervisord => &["supervisord"],
        }
    }

    /// Those that are there; of the others it is said that they are left out.
    pub(crate) fn available() -> Vec<Self> {
        let there = |system: &Self| system.programs().iter().all(|program| barge_testkit::tool(program).is_some());
        Self::ALL.into_iter().filter(there).collect()
    }

    /// It can run a helper at all.
    pub(crate) fn has_helpers(self) -> bool {
        !matches!(self, Self::Tini | Self::TiniStatic | Self::DumbInit | Self::Runsv)
    }

    /// The words with which it runs what is wanted.
    pub(crate) fn command(self, place: &Place<'_>, wanted: &Wanted) -> Vec<String> {
        let with = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).chain(wanted.command.clone()).collect();
        match (self, wanted.to_process_alone) {
            (Self::BargeInit, _) => barge_init(place, wanted),
            // -e: this exit code becomes 0. -g: signals are for the process's group.
            (Self::Tini, false) => with(&["tini", "-g", "-e", "143", "--"]),
            (Self::Tini, true) => with(&["tini", "-e", "143", "--"]),
            (Self::TiniStatic, _) => with(&["tini-static", "-g", "-e", "143", "--"]),
            (Self::DumbInit, false) => with(&["dumb-init", "--"]),
            (Self::DumbInit, true) => with(&["dumb-init", "--single-child", "--"]),
            (Self::S6, _) => supervisors::s6(place, wanted),
            (Self::Runsv, _) => supervisors::runsv(place, wanted),
            (Self::Runsvdir, _) => supervisors::runsvdir(place, wanted),
            (Self::Supervisord, _) => supervisors::supervisord(place, wanted),
        }
    }

    /// Bytes of its programs, of the libraries that are its own, and of the interpreter that it needs; never of the C library, nor of
    /// Python's.
    pub(crate) fn size(self, place: &Place<'_>) -> u64 {
        let of = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let programs = || self.programs().iter().filter_map(|program| barge_testkit::tool(program));
        match self {
            Self::BargeInit => of(place.program),
            Self::Supervisord => {
                let interpreter = std::fs::canonicalize("/usr/bin/python3").unwrap();
                of(&interpreter) + programs().map(|path| of(&path)).sum::<u64>() + package("supervisor")
            }
            _ => {
                let libraries: std::collections::BTreeSet<PathBuf> = programs().flat_map(own_libraries).collect();
                programs().map(|path| of(&path)).sum::<u64>() + libraries.iter().map(|path| of(path)).sum::<u64>()
            }
        }
    }
}

/// Words where they are enough, else a plan.
fn barge_init(place: &Place<'_>, wanted: &Wanted) -> Vec<String> {
    let program = place.program.display().to_string();
    let grace = GRACE.as_secs().to_string();
    if wanted.helper.is_none() && wanted.drain.is_none() {
        let mut words = vec![program, "--grace".to_owned(), grace];
        if wanted.to_process_alone {
            words.push("--signal-process".to_owned());
        }
        if let Some(port) = wanted.hold {
            words.extend(["--probe", "accept", "--port"].map(str::to_owned));
            words.push(port.to_string());
        }
        words.push("--".to_owned());
        words.extend(wanted.command.clone());
        return words;
    }
    let mut plan = serde_json::json!({
        "instance": "bench",
        "main": {"command": wanted.command},
        "stop": {"grace_ms": GRACE.as_millis() as u64},
    });
    if let Some(helper) = &wanted.helper {
        plan["helpers"] = serde_json::json!({"helper": {"command": helper}});
    }
    if let Some(port) = wanted.drain {
        plan["stop"]["check"] = format!("http://127.0.0.1:{port}/in-flight").into();
        plan["stop"]["quiet_ms"] = 100.into();
        plan["stop"]["limit_ms"] = 10_000.into();
    }
    std::fs::write(place.directory.join("plan.json"), plan.to_string()).unwrap();
    vec![program, "run".to_owned(), place.directory.display().to_string()]
}

/// Libraries that came with the program: s6 has some of the same house.
fn own_libraries(program: PathBuf) -> Vec<PathBuf> {
    let told = Command::new("ldd").arg(program).output().unwrap().stdout;
    let told = String::from_utf8_lossy(&told).into_owned();
    let paths = told.lines().filter_map(|line| line.split_once("=> ")?.1.split_whitespace().next());
    let own = |path: &&str| ["libs6", "libskarnet", "libexecline"].iter().any(|name| path.contains(name));
    paths.filter(own).filter_map(|path| std::fs::canonicalize(path).ok()).collect()
}

/// The sources of a package of Debian's Python, without what Python makes of them.
fn package(name: &str) -> u64 {
    let directory = Path::new("/usr/lib/python3/dist-packages").join(name);
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sources = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "py"));
    sources.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}
