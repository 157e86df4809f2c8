//! `cargo xtask bench`: measures in release builds and prints the figures as they stand in docs/benchmarks.md.

mod operator;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{output, root, setup, target};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// `barge deploy`, from the command to the first answer of the new instance
    Deploy,
    /// The gateway beside nginx (needs nginx and wrk)
    Gateway,
    /// A platform of 50 services on which nothing happens: memory and CPU
    Idle,
    /// Images of Java programs beside Jib (needs Maven; root on Debian, or what it installs)
    Image,
    /// barge-init beside tini, dumb-init, s6, runit and supervisord (installs them; root only)
    Init,
    /// The operator with 1,000 services and 10,000 pods of fake nodes (on a cluster of its own, if none is up)
    Operator,
    /// Releases back to back under the load of wrk
    Releases,
    /// The server with 500 services and 5,000 fake instances, and over 10,000 releases
    Scale,
    /// One step of the rollout machine
    Step,
}

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; without one, all
    which: Option<Bench>,
    /// Write the figures into docs/benchmarks.md
    #[arg(long)]
    record: bool,
    #[command(flatten)]
    operator: operator::Args,
}

const PAGE: &str = "docs/benchmarks.md";

/// Measures.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = Bench::value_variants().to_vec();
    for bench in args.which.map_or(all, |one| vec![one]) {
        let name = bench.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut figures = match bench {
            Bench::Deploy => platform_bench("deploy")?,
            Bench::Gateway => platform_bench("gateway")?,
            Bench::Idle => platform_bench("idle")?,
            Bench::Image => {
                setup::peers_of_images()?;
                platform_bench("image")?
            }
            Bench::Init => {
                setup::peers_of_barge_init()?;
                output(Command::new("cargo").args(["bench", "-q", "--locked", "-p", "e2e", "--bench", "init"]))?
            }
            Bench::Operator => operator::run(&args.operator)?,
            Bench::Releases => platform_bench("releases")?,
            Bench::Scale => platform_bench("scale")?,
            Bench::Step => {
                output(Command::new("cargo").args(["bench", "-q", "--locked", "-p", "barge-model", "--bench", "step"]))?
            }
        };
        let command = match bench {
            Bench::Operator => format!("cargo xtask bench {name}{} --record", args.operator.words()),
            _ => format!("cargo xtask bench {name} --record"),
        };
        write!(figures, "\n{}; `{command}`\n", machine()).context("write the figures")?;
        println!("{figures}");
        if args.record {
            record(&name, &figures)?;
        }
    }
    Ok(())
}

/// A bench against the real binary.
fn platform_bench(name: &str) -> Result<String> {
    crate::build_release(&["-p", "barge-cli", "-p", "greeter"])?;
    let release = target().join("release");
    output(
        Command::new("cargo")
            .args(["bench", "-q", "--locked", "-p", "e2e", "--bench", name])
            .env("BARGE_BIN", release.join("barge"))
            .env("GREETER_BIN", release.join("greeter")),
    )
}

/// The machine and the day, so that nobody compares what cannot be compared.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory: u64 = after(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let day = output(Command::new("date").arg("+%Y-%m-%d")).unwrap_or_default();
    format!("{}: {cores} cores of {}, {} GiB", day.trim(), after(&read("/proc/cpuinfo"), "model name"), memory >> 20)
}

/// Replaces what stands between the bench's marks.
fn record(name: &str, figures: &str) -> Result<()> {
    let path: &Path = &root().join(PAGE);
    let page = std::fs::read_to_string(path).with_context(|| format!("read {PAGE}"))?;
    let (begin, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- end of bench {name} -->"));
    let (Some(from), Some(to)) = (page.find(&begin), page.find(&end)) else {
        bail!("{PAGE} has no marks for the bench {name}");
    };
    let page = format!("{}{begin}\n{}\n\n{}", &page[..from], figures.trim(), &page[to..]);
    std::fs::write(path, page).with_context(|| format!("write {PAGE}"))
}
