//! A platform of which anybody may be killed at any moment, and the person in front of it, who starts again what is gone and goes on.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use barge_testkit::{TestGateway, TestPlatform};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::behaviours::alive;
use crate::points::Act;
use crate::processes::{Running, running};

/// The longest that a command may take. An instance that was killed again and again is started again only after a minute.
pub(crate) const LONGEST: Duration = Duration::from_secs(180);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The platform, its gateway with it.
    Platform,
    /// The platform, in front of which a gateway serves on.
    PlatformAlone,
    /// The gateway, which runs on its own.
    Gateway,
    Init,
    Instance,
    CommandLine,
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Victim::Platform | Victim::PlatformAlone => "the platform",
            Victim::Gateway => "the gateway",
            Victim::Init => "a barge-init",
            Victim::Instance => "an instance",
            Victim::CommandLine => "the command",
        })
    }
}

/// The platform, its gateway where that runs on its own, and the command that runs now.
pub(crate) struct Stage {
    pub(crate) platform: TestPlatform,
    /// Ends after the platform.
    pub(crate) gateway: Option<TestGateway>,
    /// For whoever wants to kill it; 0 while there is none.
    command: Arc<AtomicU32>,
    /// What served when nobody was killed yet, and has to go on without the platform.
    serving: Vec<u32>,
    /// What the last command said.
    said: Option<File>,
    /// The commands that a SIGKILL has ended.
    killed: Vec<u32>,
}

impl Stage {
    /// A platform with a gateway of its own.
    pub(crate) fn whole() -> Self {
        Self::with(TestPlatform::start(), None)
    }

    /// A platform behind a gateway that runs on its own.
    pub(crate) fn behind_a_gateway() -> Self {
        let gateway = TestGateway::start();
        Self::with(TestPlatform::start_behind(&gateway), Some(gateway))
    }

    fn with(platform: TestPlatform, gateway: Option<TestGateway>) -> Self {
        Self { platform, gateway, command: Arc::default(), serving: Vec::new(), said: None, killed: Vec::new() }
    }

    /// Notes what serves now.
    pub(crate) fn note_serving(&mut self) {
        self.serving = self.platform.instance_processes();
    }

    /// One SIGKILL, for whoever chooses the moment; it gives who was killed. Of instances, it is the newest one's of `service`: the one that
    /// a release is about.
    pub(crate) fn kill(&self, victim: Victim, service: &str) -> Act {
        let (platform, data, command) = (self.platform.pid(), self.platform.data(), Arc::clone(&self.command));
        let gateway = self.gateway.as_ref().map(TestGateway::pid);
        let service = service.to_owned();
        Box::new(move || {
            let newest = |init: bool| {
                let wanted = |one: &Running| one.service == service && one.init == init;
                running(&data).into_iter().rev().find(wanted).map(|one| one.pid)
            };
            let pid = match victim {
                Victim::Platform | Victim::PlatformAlone => Some(platform),
                Victim::Gateway => gateway,
                Victim::CommandLine => Some(command.load(Ordering::SeqCst)).filter(|pid| *pid != 0),
                Victim::Init => newest(true),
                Victim::Instance => newest(false),
            };
            // Whoever has just ended, or waits to be buried, is nobody to kill.
            let there = pid.filter(|pid| alive(&pid.to_string()))?;
            kill(Pid::from_raw(there.cast_signed()), Signal::SIGKILL).is_ok().then_some(there)
        })
    }

    /// Starts again what was killed of platform and gateway; the platform's instances must have gone on without it.
    pub(crate) fn come_back(&mut self) {
        if let Some(gateway) = &mut self.gateway
            && !gateway.runs()
        {
            gateway.kill();
            gateway.up();
        }
        if self.platform.runs() {
            return;
        }
        let now = self.platform.instance_processes();
        assert!(
            self.serving.iter().any(|pid| now.contains(pid)) || now.len() >= 2,
            "nothing serves without the platform"
        );
        self.platform.kill();
        self.platform.up();
    }

    /// Runs a command to its end. Where the platform goes away meanwhile, somebody starts it again, and the command goes on. Whether it
    /// succeeds is not the question: the status tells what to do next.
    pub(crate) fn run(&mut self, project: &Path, arguments: &[&str]) {
        let said = tempfile::tempfile().unwrap();
        let mut command = self.platform.command(project, arguments);
        let mut child = command.stdout(said.try_clone().unwrap()).stderr(said.try_clone().unwrap()).spawn().unwrap();
        self.said = Some(said);
        self.command.store(child.id(), Ordering::SeqCst);
        let deadline = Instant::now() + LONGEST;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            self.come_back();
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("barge {arguments:?} does not end; it said:\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.command.store(0, Ordering::SeqCst);
        if status.signal() == Some(Signal::SIGKILL as i32) {
            self.killed.push(child.id());
        }
    }

    /// Whether a command was ended by a SIGKILL, and has not come to its own end in that very moment.
    pub(crate) fn killed(&self, command: u32) -> bool {
        self.killed.contains(&command)
    }

    /// What the gateway goes by, as it has stored it.
    pub(crate) fn snapshot(&self) -> PathBuf {
        let directory = self.gateway.as_ref().map_or_else(|| self.platform.data(), TestGateway::data);
        directory.join("gateway.json")
    }

    /// What the last command said, for a message.
    pub(crate) fn said(&mut self) -> String {
        let mut text = String::new();
        if let Some(file) = &mut self.said {
            // What cannot be read is left out of the message.
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
        }
        text
    }
}
