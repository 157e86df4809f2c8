//! What nobody can do without who makes layers of these files for the first time: read them, hash them, compress them, and hash that.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::files;
use crate::program::Program;

/// The level that Barge compresses with.
const LEVEL: &str = "-3";

/// `cat FILES | sha256sum` and gzip beside it, on as many cores as there are.
pub(crate) struct Floor;

impl Floor {
    pub(crate) fn measure(program: &Program) -> Duration {
        let cores = std::thread::available_parallelism().unwrap().get();
        let mut shares: Vec<(u64, Vec<PathBuf>)> = vec![(0, Vec::new()); cores];
        let mut all: Vec<(u64, PathBuf)> =
            files(&program.directory).into_iter().map(|path| (std::fs::metadata(&path).unwrap().len(), path)).collect();
        all.sort();
        for (size, path) in all.into_iter().rev() {
            let share = shares.iter_mut().min_by_key(|share| share.0).unwrap();
            share.0 += size;
            share.1.push(path);
        }
        let script = format!("cat -- \"$@\" | tee >(sha256sum >/dev/null) | gzip {LEVEL} | sha256sum");
        let begin = Instant::now();
        let pipes = shares.iter().map(|(_, paths)| {
            let mut bash = Command::new("bash");
            bash.args(["-c", &script, "bash"]).args(paths).stdout(Stdio::null()).spawn().unwrap()
        });
        let pipes: Vec<_> = pipes.collect();
        for mut pipe in pipes {
            assert!(pipe.wait().unwrap().success());
        }
        begin.elapsed()
    }
}
