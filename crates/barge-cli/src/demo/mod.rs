//! `barge demo`: the whole way of a release, shown on this machine with the commands that people use, under load.
//!
//! A platform of its own in a directory of its own; nothing of the user's is touched. Every act is a command line that is printed and
//! then carried out as if it had been typed.

mod cluster;
mod greeter;
mod result;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_load::{Load, LoadError, LoadPlan};
use barge_model::EnvironmentName;
use clap::Parser;

use crate::arguments::{Globals, Line};
use crate::commands;
use crate::failure::{Failure, Kind};
use crate::places;
use crate::platform::{DataDirectory, EnvironmentConfig, Platform, PlatformConfig, Ports};
use crate::terminal::{Style, Terminal};
use greeter::Version;

/// How long the load goes on between two acts.
const A_WHILE: Duration = Duration::from_millis(1500);

const EXAMPLES: &str = "\
Examples:
  barge demo               watch it, then everything is cleaned up
  barge demo --keep        and go on with the platform and the service that it leaves
  barge demo --kubernetes  the same on the kubeconfig's cluster";

/// Show a whole release on this machine: build, one instance, approval, failure, rollback, under load
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Leave the platform running at the end, and say how to go on
    #[arg(long)]
    keep: bool,
    /// How many instances
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50))]
    replicas: u32,
    #[command(flatten)]
    cluster: cluster::Place,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let temporary = tempfile::Builder::new()
        .prefix("barge-demo-")
        .tempdir()
        .map_err(|error| Failure::io("make a directory for the demo", &error))?;
    places::keep_cache_in(temporary.path().join("cache"));
    let directory = DataDirectory::open(temporary.path().join("data"))?;
    let mut stage = Stage::new(globals, terminal, temporary.path().join("greeter"), &args)?;
    let ended = match args.cluster.kubernetes {
        false => here(&mut stage, directory, &args).await,
        true => there(&mut stage, directory, &args).await,
    };
    clean_up(temporary, &terminal).await;
    match ended? {
        0 => Ok(()),
        count => Err(Failure::new(Kind::General, format!("{count} requests failed; none should have"))),
    }
}

/// On this machine; the result is the number of failed requests.
async fn here(stage: &mut Stage, directory: DataDirectory, args: &Args) -> Result<u64, Failure> {
    let mut platform =
        Platform::start(directory, bare(vec![EnvironmentConfig::here(stage.environment.clone())])).await?;
    stage.enter(&platform, platform.gateway);
    stage.title("Server, registry, gateway and engine run in this process, on loopback alone.");
    let shown = stage.play(&mut platform, args.keep).await;
    platform.stop().await;
    shown
}

/// On a cluster.
async fn there(stage: &mut Stage, directory: DataDirectory, args: &Args) -> Result<u64, Failure> {
    stage.title(
        "Operator, registrar, gateway and instances run on a Kubernetes cluster; server and registry in this process.",
    );
    let environment = stage.environment.clone();
    let preparing = cluster::prepare(stage, &args.cluster, directory, &environment);
    let prepared = commands::unless_interrupted(preparing).await.inspect_err(|_| {
        stage.say(Style::Plain, "`barge cluster uninstall` takes back what was installed already");
    })?;
    stage.enter(&prepared.platform, prepared.gateway);
    let (mut platform, client, namespace, kubeconfig) = prepared.into_parts();
    let shown = stage.play(&mut platform, args.keep).await;
    platform.stop().await;
    stage.scene("The end", "what the demo has brought onto the cluster is taken away");
    let cleaned = cluster::Prepared::clean_up(&client, &namespace, &kubeconfig, stage).await;
    let failed = shown?;
    cleaned?;
    Ok(failed)
}

/// A platform with nothing but environments.
fn bare(environments: Vec<EnvironmentConfig>) -> PlatformConfig {
    let (ports, retention) = (Ports::default(), barge_server::Retention::default());
    PlatformConfig { environments, registry_address: Ipv4Addr::LOCALHOST.into(), ports, gateway: None, retention }
}

/// Where the demo plays.
struct Stage {
    terminal: Terminal,
    /// For the commands that are shown.
    globals: Globals,
    json: bool,
    project: PathBuf,
    environment: EnvironmentName,
    gateway: SocketAddr,
    replicas: u32,
}

impl Stage {
    fn new(globals: &Globals, terminal: Terminal, project: PathBuf, args: &Args) -> Result<Self, Failure> {
        let name = if args.cluster.kubernetes { "test" } else { "local" };
        let environment = EnvironmentName::new(name).map_err(|error| Failure::from_error(Kind::General, &error))?;
        let globals = Globals {
            environment: None,
            service: None,
            // Only the result is for programs.
            json: false,
            quiet: globals.quiet || globals.json,
            ..globals.clone()
        };
        let gateway = (Ipv4Addr::LOCALHOST, 0).into();
        let (json, replicas) = (terminal.json(), args.replicas);
        Ok(Self { terminal, globals, json, project, environment, gateway, replicas })
    }

    /// From now on commands are for this platform, and the load for its gateway.
    fn enter(&mut self, platform: &Platform, gateway: SocketAddr) {
        self.globals.server = Some(platform.address());
        self.globals.token_file = Some(platform.directory().token_path());
        self.gateway = gateway;
    }

    /// Plays every act, and leaves everything as it is for as long as somebody wants to look at it.
    async fn play(&self, platform: &mut Platform, keep: bool) -> Result<u64, Failure> {
        let shown = tokio::select! {
            shown = self.show() => shown,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Kind::Interrupted, "interrupted")),
        };
        if keep && shown.is_ok() {
            self.say_how_to_go_on(platform);
            platform.until_stopped().await?;
        }
        shown
    }

    /// Plays every act; the result is the number of failed requests.
    async fn show(&self) -> Result<u64, Failure> {
        self.scene("Version 1", "a first release: one instance, a look at it, an approval, the rest");
        greeter::write(&self.project, Version::Good, self.replicas)?;
        self.command(&["deploy", "--reason", "the first version"]).await?;
        self.command(&["approve", "--wait", "complete"]).await?;
        let load = Load::start(self.load_plan(), "version 1 serves")?;
        serve_for_a_while().await;

        self.scene("Version 2", "better: one instance of it beside the others, then a gate");
        load.phase("version 2: one instance");
        greeter::write(&self.project, Version::Better, self.replicas)?;
        self.command(&["deploy", "--reason", "a better greeting"]).await?;
        load.phase("version 2: at the gate");
        serve_for_a_while().await;
        self.answers().await?;
        self.command(&["status"]).await?;
        load.phase("version 2: the rest");
        self.command(&["approve", "--wait", "complete"]).await?;

        self.scene("Version 3", "does not start: held, explained, failed; version 2 goes on");
        load.phase("version 3 fails to start");
        greeter::write(&self.project, Version::Broken, self.replicas)?;
        self.expect_failure(&["deploy", "--reason", "a new colour"]).await?;
        self.command(&["abort"]).await?;

        self.scene("Back to version 1", "a rollback needs no build and no second approval");
        load.phase("rollback to version 1");
        self.command(&["rollback", "--wait", "complete"]).await?;
        load.phase("version 1 serves again");
        serve_for_a_while().await;
        self.answers().await?;
        self.command(&["releases"]).await?;

        let phases = load.stop().await;
        result::print(&self.terminal, &phases)?;
        Ok(phases.iter().map(|phase| phase.failed).sum())
    }

    fn title(&self, what: &str) {
        self.say(Style::Bold, "Barge: from built code to instances that serve traffic.");
        self.say(Style::Dim, what);
    }

    fn scene(&self, name: &str, what: &str) {
        self.say(Style::Plain, "");
        let paint = self.terminal.paint();
        self.say(Style::Plain, &format!("{} {what}", paint.paint(Style::Bold, &format!("{name}:"))));
    }

    /// Prints a command line and carries it out.
    async fn command(&self, words: &[&str]) -> Result<(), Failure> {
        self.say(Style::Dim, &format!("$ barge {}", spelled(words)));
        self.carry_out(words).await
    }

    /// The same for a command that is about no service.
    async fn command_of_no_service(&self, words: &[&str]) -> Result<(), Failure> {
        self.say(Style::Dim, &format!("$ barge {}", spelled(words)));
        let words = ["barge"].iter().chain(words);
        let line = Line::try_parse_from(words).map_err(|error| Failure::new(Kind::General, error.to_string()))?;
        Box::pin(commands::run(line.command, &self.globals)).await
    }

    async fn carry_out(&self, words: &[&str]) -> Result<(), Failure> {
        let words = ["barge"].iter().chain(words).chain(&["-m", "greeter"]);
        let line = Line::try_parse_from(words).map_err(|error| Failure::new(Kind::General, error.to_string()))?;
        let _directory = Inside::enter(&self.project)?;
        // The commands are one and the same function, the demo included; a box ends the recursion of types.
        Box::pin(commands::run(line.command, &self.globals)).await
    }

    /// A command that is meant to fail; its report is shown as it would be.
    async fn expect_failure(&self, words: &[&str]) -> Result<(), Failure> {
        match self.command(words).await {
            Err(failure) if failure.kind() == Kind::Release => {
                if !self.json {
                    self.terminal.failure(&failure);
                }
                Ok(())
            }
            Err(other) => Err(other),
            Ok(()) => Err(Failure::new(Kind::General, "the broken version started, which it must not")),
        }
    }

    /// Shows a few answers through the gateway.
    async fn answers(&self) -> Result<(), Failure> {
        let plan = self.load_plan();
        self.say(Style::Dim, &format!("$ {}", self.curl()));
        // Enough that every version shows, although other clients take turns as well.
        let asked = 50;
        for (answer, count) in barge_load::some_answers(&plan, asked).await? {
            self.say(Style::Plain, &format!("{answer}   ({count} of {asked} answers)"));
        }
        Ok(())
    }

    fn load_plan(&self) -> LoadPlan {
        LoadPlan::new(self.gateway, self.host())
    }

    fn host(&self) -> String {
        format!("greeter.{}.localhost:{}", self.environment, self.gateway.port())
    }

    /// How somebody asks the service.
    fn curl(&self) -> String {
        match self.gateway.ip().is_loopback() {
            true => format!("curl http://{}", self.host()),
            false => format!("curl -H 'Host: {}' http://{}", self.host(), self.gateway),
        }
    }

    fn say(&self, style: Style, text: &str) {
        if !self.globals.quiet {
            self.terminal.note(&self.terminal.paint().paint(style, text));
        }
    }

    fn say_how_to_go_on(&self, platform: &Platform) {
        let project = self.project.display();
        self.terminal.note(&format!(
            "\nThe platform goes on until Ctrl-C. In another terminal:\n  export BARGE_SERVER={}\n  export BARGE_TOKEN=$(cat {})\n  cd {project}\n  barge status\n  {}",
            platform.address(),
            platform.directory().token_path().display(),
            self.curl()
        ));
    }
}

/// Removes the demo's directory. The last words of an instance may still be on their way into it, so one try may not be enough.
async fn clean_up(directory: tempfile::TempDir, terminal: &Terminal) {
    let path = directory.keep();
    for _ in 0..50 {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            _ => return,
        }
    }
    terminal.warn(&format!("the demo's directory {} could not be removed", path.display()));
}

/// Lets the load go on for a moment.
async fn serve_for_a_while() {
    tokio::time::sleep(A_WHILE).await;
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::from_error(Kind::General, &error)
    }
}

/// A command line as a person would type it.
fn spelled(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The current directory, for as long as a command runs that looks for a project there.
struct Inside(PathBuf);

impl Inside {
    fn enter(directory: &Path) -> Result<Self, Failure> {
        let before = std::env::current_dir().map_err(|error| Failure::io("find the current directory", &error))?;
        std::env::set_current_dir(directory)
            .map_err(|error| Failure::io(format!("enter {}", directory.display()), &error))?;
        Ok(Self(before))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A directory that is gone meanwhile is nobody's to go back to.
        let _ = std::env::set_current_dir(&self.0);
    }
}
