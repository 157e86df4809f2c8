//! `barge down`: ends what a platform has left running.

use std::path::PathBuf;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::places;
use crate::platform::{DataDirectory, PlatformError, take_down};
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Instances outlive a platform that was killed, and any platform behind a gateway of its own. Each is taken out of traffic, \
has its requests answered as its drain settings say, and is stopped. What is wanted stays: the next `barge up` starts them again.

Examples:
  barge down             what `barge up` has left running
  barge down --data ./b  the same below another directory

A platform that runs still has them; it is stopped first.";

/// Stop the instances that a platform has left running
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The platform's directory [default: $BARGE_DATA, else ~/.local/share/barge]
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// The directory of its gateway [default: the one that it used last]
    #[arg(long, value_name = "DIRECTORY")]
    gateway: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let no_place = || Failure::new(Kind::General, "there is no place for data: neither HOME nor BARGE_DATA is set");
    let path = args.data.or_else(places::data).ok_or_else(no_place)?;
    // Looking must not make one.
    if !path.join("format").is_file() {
        return Err(Failure::new(Kind::Usage, format!("there is no data directory {}", path.display())));
    }
    let directory = DataDirectory::open(path).map_err(|error| match error {
        PlatformError::Locked { ref owner, .. } => {
            Failure::from_error(Kind::General, &error).hint(format!("stop that one first ({owner}), then repeat this"))
        }
        other => other.into(),
    })?;
    let gateway = args.gateway.or_else(|| directory.gateway());
    terminal.note("stopping the instances: requests end first");
    take_down(&directory, gateway.as_deref()).await?;
    terminal.note("nothing runs any more; `barge up` starts everything again");
    Ok(())
}
