//! Who builds and pushes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use barge_testkit::barge_binary;

use crate::program::{Program, driver};
use crate::{Stage, run};

/// Images that a JVM has built before it is called warm.
const WARM_UP: usize = 5;

/// One build with its push.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) time: Duration,
    /// The most resident memory that it had.
    pub(crate) memory_kib: u64,
}

/// Builds images and pushes them.
pub(crate) trait Contender {
    /// In the table.
    fn name(&self) -> &'static str;
    /// In names of repositories.
    fn word(&self) -> &'static str;
    /// Empties the caches.
    fn forget(&mut self);
    /// Empties the caches of what the program is made of.
    fn forget_all_but_base(&mut self);
    /// Builds, and pushes to a repository.
    fn build(&mut self, program: &Program, repository: &str) -> Measured;
}

/// `barge build`.
pub(crate) struct Barge {
    /// As for a test's own command line, with a cache of its own.
    env: Vec<(String, String)>,
    cache: PathBuf,
    base: String,
    report: PathBuf,
}

impl Barge {
    pub(crate) fn new(stage: &Stage) -> Self {
        let place = stage.platform.project("barge");
        let cache = place.join("cache");
        let command = stage.platform.command(&place, &[]);
        let text = |value: &std::ffi::OsStr| value.to_str().unwrap().to_owned();
        let set = command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?))));
        let env = set.chain([("BARGE_CACHE".to_owned(), cache.display().to_string())]).collect();
        Self { env, cache, base: stage.base.clone(), report: place.join("memory") }
    }

    /// The repository is the service's.
    pub(crate) fn write_manifest(&self, project: &Path, repository: &str) {
        let manifest = format!("name: {repository}\nkind: web\nbuild: {{base: '{}'}}\n", self.base);
        std::fs::write(project.join("barge.yaml"), manifest).unwrap();
    }

    pub(crate) fn command(&self, project: &Path) -> Command {
        let mut command = measuring(&self.report);
        command.arg(barge_binary()).arg("build").current_dir(project).envs(self.env.iter().cloned());
        command
    }
}

impl Contender for Barge {
    fn name(&self) -> &'static str {
        "barge build"
    }

    fn word(&self) -> &'static str {
        "barge"
    }

    fn forget(&mut self) {
        forget(&self.cache);
    }

    fn forget_all_but_base(&mut self) {
        self.forget();
    }

    fn build(&mut self, program: &Program, repository: &str) -> Measured {
        self.write_manifest(&program.project, repository);
        let mut command = self.command(&program.project);
        let begin = Instant::now();
        run(&mut command);
        Measured { time: begin.elapsed(), memory_kib: reported(&self.report) }
    }
}

/// Jib's library.
pub(crate) struct Jib {
    driver: String,
    base: String,
    registry: String,
    token: String,
    cache: PathBuf,
    report: PathBuf,
    /// Of the JVM that goes on.
    warm: Option<Child>,
}

impl Jib {
    /// In a JVM for each build.
    pub(crate) fn cold(stage: &Stage) -> Self {
        Self::new(stage, "jib-cold")
    }

    /// In one JVM for all of them, that has built before.
    pub(crate) fn warm(stage: &Stage, program: &Program) -> Self {
        let mut jib = Self::new(stage, "jib-warm");
        let mut command = driver(&jib.driver, "example.Driver");
        command.env("REGISTRY_TOKEN", &jib.token).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        jib.warm = Some(command.spawn().unwrap());
        for number in 0..WARM_UP {
            jib.forget();
            jib.build(program, &format!("{}-warm-up-{number}", program.name));
        }
        jib
    }

    fn new(stage: &Stage, place: &str) -> Self {
        let place = stage.platform.project(place);
        Self {
            driver: stage.driver.clone(),
            base: stage.base.clone(),
            registry: stage.registry.clone(),
            token: stage.platform.token.clone(),
            cache: place.join("cache"),
            report: place.join("memory"),
            warm: None,
        }
    }

    fn line(&self, program: &Program, repository: &str) -> String {
        let (directory, cache) = (program.directory.display(), self.cache.display());
        format!("{}\t{}/{repository}\t{directory}\t{cache}\n", self.base, self.registry)
    }
}

impl Contender for Jib {
    fn name(&self) -> &'static str {
        if self.warm.is_some() { "Jib, JVM warm" } else { "Jib, new JVM" }
    }

    fn word(&self) -> &'static str {
        if self.warm.is_some() { "warm" } else { "jib" }
    }

    fn forget(&mut self) {
        forget(&self.cache);
    }

    fn forget_all_but_base(&mut self) {
        forget(&self.cache.join("application"));
    }

    fn build(&mut self, program: &Program, repository: &str) -> Measured {
        let line = self.line(program, repository);
        if let Some(child) = &mut self.warm {
            child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
            let mut answer = String::new();
            BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
            let time = answer.split('\t').next().and_then(|text| text.parse().ok()).map(Duration::from_millis);
            let time = time.unwrap_or_else(|| panic!("Jib answers {answer:?}"));
            return Measured { time, memory_kib: most_resident(child.id()) };
        }
        let mut command = measuring(&self.report);
        let java = driver(&self.driver, "example.Driver");
        command.arg(java.get_program()).args(java.get_args()).env("REGISTRY_TOKEN", &self.token);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let begin = Instant::now();
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "Jib failed");
        Measured { time: begin.elapsed(), memory_kib: reported(&self.report) }
    }
}

impl Drop for Jib {
    fn drop(&mut self) {
        if let Some(mut child) = self.warm.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn forget(cache: &Path) {
    if cache.exists() {
        std::fs::remove_dir_all(cache).unwrap();
    }
    std::fs::create_dir_all(cache).unwrap();
}

/// What is run after these words, `time` writes the most resident memory of.
fn measuring(report: &Path) -> Command {
    let mut time = Command::new("time");
    time.args(["--format", "%M", "--output"]).arg(report);
    time
}

fn reported(report: &Path) -> u64 {
    std::fs::read_to_string(report).unwrap().trim().parse().unwrap()
}

fn most_resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
