//! `barge logs`: what instances write, held ones too.

use std::collections::HashSet;

use barge_api::{ApiError, InstanceView, ServiceStatus};
use barge_model::InstanceId;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::json;
use tokio_stream::StreamMap;

use super::instances::find;
use crate::arguments::Globals;
use crate::failure::Failure;
use crate::session::Target;
use crate::terminal::{Style, Terminal, write_out};

const EXAMPLES: &str = "\
Without --instance: all instances, each line with the end of its instance's id before it.

Examples:
  barge logs                          the last lines of every instance
  barge logs -f                       and what comes; new instances too
  barge logs --instance 4KX2ZQ        one instance, held ones too
  barge logs --tail 1000 -m greeter";

/// Print what the instances of a service write
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Stay and print what comes
    #[arg(short, long)]
    follow: bool,
    /// One instance: its id, or the end of it
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// How many lines of what is there already, from each instance
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 100)]
    tail: usize,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let target = Target::open(globals, &terminal).await?;
    let status = target.status().await?;
    let one = args.instance.as_deref().map(|name| find(&status, name, &target)).transpose()?;
    let mut reader = Reader { target: &target, terminal, args: &args, prefix: one.is_none(), open: StreamMap::new() };
    match one {
        Some(view) => {
            reader.add(&view.id, args.tail).await?;
            reader.until_end().await
        }
        None if args.follow => reader.follow_all(status).await,
        None => {
            if status.instances.is_empty() {
                terminal.note(&format!("{target} has no instances"));
            }
            reader.one_after_the_other(&status.instances).await
        }
    }
}

type Lines = BoxStream<'static, Result<String, ApiError>>;

struct Reader<'a> {
    target: &'a Target,
    terminal: Terminal,
    args: &'a Args,
    prefix: bool,
    open: StreamMap<InstanceId, Lines>,
}

impl Reader<'_> {
    async fn add(&mut self, instance: &InstanceId, tail: usize) -> Result<(), Failure> {
        let Target { environment, service, .. } = self.target;
        let lines = self.target.client().logs(environment, service, instance, tail, self.args.follow).await?;
        self.open.insert(instance.clone(), lines);
        Ok(())
    }

    async fn until_end(&mut self) -> Result<(), Failure> {
        while let Some((instance, line)) = self.open.next().await {
            self.print(&instance, &line?)?;
        }
        Ok(())
    }

    /// Without following, an instance's lines stay together.
    async fn one_after_the_other(&mut self, instances: &[InstanceView]) -> Result<(), Failure> {
        for view in instances {
            self.add(&view.id, self.args.tail).await?;
            self.until_end().await?;
        }
        Ok(())
    }

    /// Follows every instance, and those that come later from their first line on.
    async fn follow_all(&mut self, first: ServiceStatus) -> Result<(), Failure> {
        let Target { environment, service, .. } = self.target;
        let mut known: HashSet<InstanceId> = HashSet::new();
        for view in &first.instances {
            known.insert(view.id.clone());
            self.add(&view.id, self.args.tail).await?;
        }
        let mut statuses = self.target.client().watch_status(environment, service).await?;
        loop {
            tokio::select! {
                Some((instance, line)) = self.open.next() => match line {
                    Ok(line) => self.print(&instance, &line)?,
                    // The others go on; whether the server itself is gone shows in the status stream.
                    Err(_) => { self.open.remove(&instance); }
                },
                status = statuses.next() => {
                    let Some(status) = status else { return self.until_end().await };
                    for view in status?.instances {
                        if known.insert(view.id.clone()) && self.add(&view.id, usize::MAX).await.is_err() {
                            // Its output is not there yet; the next status brings it up again.
                            known.remove(&view.id);
                        }
                    }
                }
            }
        }
    }

    fn print(&self, instance: &InstanceId, line: &str) -> Result<(), Failure> {
        if self.terminal.json() {
            return self.terminal.json_line(&json!({ "instance": instance, "line": line }));
        }
        let prefix = match self.prefix {
            true => format!("{} ", self.terminal.paint().paint(Style::Dim, instance.short())),
            false => String::new(),
        };
        write_out(format!("{prefix}{line}\n").as_bytes())
    }
}
