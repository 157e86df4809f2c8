//! `barge up`: the platform on this machine.

use std::net::IpAddr;
use std::path::PathBuf;

use barge_model::EnvironmentName;
use barge_server::Retention;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::places;
use crate::platform::{DataDirectory, EnvironmentConfig, Platform, PlatformConfig, Ports, read_configuration};
use crate::session::Login;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  barge up                          everything on this machine, until Ctrl-C
  barge up --any-port --data ./b    a second one beside it
  barge up --environments test,uat  two environments
  barge gateway & barge up --gateway ~/.local/share/barge-gateway
                                    requests are answered also while the platform is down

State is in $BARGE_DATA, else in ~/.local/share/barge. Secrets are files there: secrets/ENVIRONMENT/NAME. \
Instances outlive a platform that is killed; Ctrl-C stops them, and the next `barge up` starts them again. With --gateway they \
outlive Ctrl-C and SIGTERM too and go on serving; `barge down` ends them.";

/// Run the platform on this machine until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where everything is stored [default: $BARGE_DATA, else ~/.local/share/barge]
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// The environments; the first is the default
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "local")]
    environments: Vec<EnvironmentName>,
    /// A file that says what the environments are made of: clusters among them (docs/environments.md)
    #[arg(long, value_name = "FILE", conflicts_with = "environments")]
    config: Option<PathBuf>,
    /// Where the registry listens; nodes of clusters that pull from it need it elsewhere than on loopback. Whoever pulls needs a token, and sends it unencrypted
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    registry_address: IpAddr,
    /// The port of the API; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    port: u16,
    /// The port of the registry for images; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 7401)]
    registry_port: u16,
    /// The port of the gateway, where services answer; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 7402)]
    gateway_port: u16,
    /// Any free port for all of them
    #[arg(long, conflicts_with_all = ["port", "registry_port", "gateway_port"])]
    any_port: bool,
    /// The directory of a `barge gateway` to use, which serves on when this platform ends; without it the gateway is a part of it
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "gateway_port")]
    gateway: Option<PathBuf>,
    /// Keep so many of the latest releases of each service, whatever became of them
    #[arg(long, value_name = "COUNT", default_value_t = Retention::default().releases)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=500))]
    keep_releases: u32,
    /// Keep so many of the definitions of each service that served last: what can be gone back to
    #[arg(long, value_name = "COUNT", default_value_t = Retention::default().served)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=500))]
    keep_served: u32,
    /// Keep records of the audit for so many days
    #[arg(long, value_name = "DAYS", default_value_t = Retention::default().audit_days)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    keep_audit: u32,
    /// Leave the stored login as it is
    #[arg(long)]
    no_login: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let no_place = || Failure::new(Kind::General, "there is no place for data: neither HOME nor BARGE_DATA is set");
    let path = args.data.clone().or_else(places::data).ok_or_else(no_place)?;
    let directory = DataDirectory::open(path)?;
    let ports = if args.any_port {
        Ports::default()
    } else {
        Ports { api: args.port, registry: args.registry_port, gateway: args.gateway_port }
    };
    let retention = Retention { releases: args.keep_releases, served: args.keep_served, audit_days: args.keep_audit };
    let environments = match &args.config {
        Some(path) => read_configuration(path)?,
        None => args.environments.iter().cloned().map(EnvironmentConfig::here).collect(),
    };
    let first = environments.first().map_or_else(|| "local".to_owned(), |first| first.name.to_string());
    let (gateway, registry_address) = (args.gateway.clone(), args.registry_address);
    let config = PlatformConfig { environments, registry_address, ports, gateway, retention };
    let mut platform = Platform::start(directory, config).await?;
    let logged_in = if args.no_login { None } else { Some(log_in(&platform, &terminal)?) };
    tell(&platform, &first, logged_in, &terminal)?;
    if let Err(broke) = platform.until_stopped().await {
        platform.let_go().await;
        return Err(broke.into());
    }
    if platform.is_behind_a_gateway() {
        // The gateway passes requests on to them, and would until it heard of an end.
        terminal.note(
            "stopping: the instances go on behind their gateway. `barge up --gateway` takes them over, `barge down` ends them",
        );
        platform.let_go().await;
    } else {
        terminal.note("stopping: requests end, then the instances");
        platform.stop().await;
    }
    Ok(())
}

/// Stores the login; false when the user is logged in to a server elsewhere, which is left alone.
fn log_in(platform: &Platform, terminal: &Terminal) -> Result<bool, Failure> {
    let login = Login { address: platform.address(), token: platform.token.clone() };
    match Login::load(terminal)? {
        Some(stored) if stored == login => Ok(true),
        Some(stored) if !stored.address.starts_with("http://127.") => Ok(false),
        _ => login.store().map(|_| true),
    }
}

fn tell(platform: &Platform, environment: &str, logged_in: Option<bool>, terminal: &Terminal) -> Result<(), Failure> {
    let token_file = platform.directory().token_path();
    let document = serde_json::json!({
        "address": platform.address(),
        "registry": platform.registry.to_string(),
        "gateway": platform.gateway.to_string(),
        "data": platform.directory().path(),
        "token_file": token_file,
    });
    let how = match logged_in {
        Some(true) => {
            "You are logged in. In a project: `barge init`, then `barge deploy`. Ctrl-C stops the platform.".to_owned()
        }
        _ => format!(
            "Your login is left as it is. To use this platform: --server {} --token-file {}",
            platform.address(),
            token_file.display()
        ),
    };
    terminal.announce(&document, |_| {
        format!(
            "Barge {} is up\n  API       {}\n  services  http://SERVICE.{environment}.localhost:{}\n  registry  {}\n  data      {}\n{how}\n",
            env!("CARGO_PKG_VERSION"),
            platform.address(),
            platform.gateway.port(),
            platform.registry,
            platform.directory().path().display(),
        )
    })
}
