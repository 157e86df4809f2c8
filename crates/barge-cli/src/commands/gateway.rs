//! `barge gateway`: the gateway in a process of its own, which serves on whatever becomes of the platform.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::places;
use crate::platform::{DataDirectory, Given, LoneGateway, Ports, usual_threads};
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Requests are answered also while the platform is down, restarted or upgraded: who serves is in a snapshot on disk. A platform on this \
machine finds the gateway by its directory; a gateway has one platform at a time.

Examples:
  barge gateway                                    until Ctrl-C
  barge up --gateway ~/.local/share/barge-gateway  a platform that uses it

On a cluster, `barge cluster install` runs it, with --listen and --token-file. Its directory is $BARGE_GATEWAY_DATA, else ~/.local/share/barge-gateway.";

/// Run the gateway in a process of its own
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where its snapshot and its token are [default: $BARGE_GATEWAY_DATA, else ~/.local/share/barge-gateway]
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// The port where services answer; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 7402)]
    port: u16,
    /// The port where platforms register instances; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 7403)]
    api_port: u16,
    /// Any free port for both
    #[arg(long, conflicts_with_all = ["port", "api_port"])]
    any_port: bool,
    /// How many threads serve [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroU8>,
    /// Listen for others than this machine, and take registrations with the token in --token-file [default: 127.0.0.1, and a token of its own]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
    /// Services answer at SERVICE.ENVIRONMENT.DOMAIN
    #[arg(long, value_name = "DOMAIN", default_value = "localhost", value_parser = domain)]
    domain: String,
}

/// A domain as host names are compared: in lower case, without dots at its ends.
pub(crate) fn domain(text: &str) -> Result<String, String> {
    let domain = text.trim_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if domain.len() <= 200 && domain.split('.').all(is_label) {
        Ok(domain)
    } else {
        Err("it is no domain such as apps.example.com".to_owned())
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let no_place =
        || Failure::new(Kind::General, "there is no place for data: neither HOME nor BARGE_GATEWAY_DATA is set");
    let path = args.data.clone().or_else(places::gateway_data).ok_or_else(no_place)?;
    let directory = DataDirectory::open(path)?;
    let shown = directory.path().to_owned();
    let ports = match args.any_port {
        true => Ports::default(),
        false => Ports { api: args.api_port, registry: 0, gateway: args.port },
    };
    let threads = args.threads.map_or_else(usual_threads, Into::into);
    let elsewhere = args.listen.map(|address| token(globals).map(|token| (address, token))).transpose()?;
    let domain = args.domain;
    let given = Given { ports, threads, elsewhere, domain: domain.clone() };
    let mut gateway = LoneGateway::start(directory, given).await?;
    let document = serde_json::json!({
        "gateway": gateway.serves.to_string(),
        "registrations": gateway.api.to_string(),
        "data": shown,
    });
    terminal.announce(&document, |_| {
        format!(
            "The gateway is up\n  services       http://SERVICE.ENVIRONMENT.{domain}:{}\n  registrations  {}\n  data           {}\n\
             `barge up --gateway {}` uses it. Ctrl-C stops it.\n",
            gateway.serves.port(),
            gateway.api,
            shown.display(),
            shown.display()
        )
    })?;
    let stopped = gateway.until_stopped().await;
    terminal.note("stopping: requests end");
    gateway.stop().await;
    Ok(stopped?)
}

/// Whoever can reach the gateway could take its requests otherwise.
fn token(globals: &Globals) -> Result<String, Failure> {
    let Some(path) = &globals.token_file else {
        return Err(Failure::new(Kind::Usage, "--listen needs a token that registers instances")
            .hint("name a file that holds one with --token-file; `openssl rand -hex 32` makes one"));
    };
    read_token(path)
}

/// The token that registers instances, from a file.
pub(super) fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::io(format!("read the token in {}", path.display()), &error))?;
    match text.trim() {
        "" => Err(Failure::new(Kind::Usage, format!("the file {} holds no token", path.display()))),
        token => Ok(token.to_owned()),
    }
}
