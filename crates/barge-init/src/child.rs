//! Starts the business process: templates, variables, a process group of its own, one pipe for all output.

use std::io::PipeReader;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::Pid;

use crate::plan::{Plan, expand, fill_template};

/// Why the process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("fill template {path}")]
    Template { path: String, source: std::io::Error },
    #[error("enter the group that limits the instance, {path}")]
    Group { path: String, source: std::io::Error },
    #[error("make a pipe for the output")]
    Pipe(#[source] std::io::Error),
    #[error("start {program:?} in {directory}")]
    Spawn { program: String, directory: String, source: std::io::Error },
}

/// A process that runs, and its output.
pub(crate) struct Started {
    pub(crate) pid: Pid,
    pub(crate) output: PipeReader,
}

/// Starts the plan's process.
pub(crate) fn start(plan: &Plan) -> Result<Started, StartError> {
    for group in &plan.groups {
        std::fs::write(group, std::process::id().to_string())
            .map_err(|source| StartError::Group { path: group.display().to_string(), source })?;
    }
    for template in &plan.templates {
        fill(plan, template).map_err(|source| StartError::Template { path: template.clone(), source })?;
    }
    let words: Vec<String> = plan.command.iter().map(|word| expand(word, &plan.env)).collect();
    let (program, arguments) = words.split_first().ok_or_else(|| StartError::Spawn {
        program: String::new(),
        directory: plan.working_directory.display().to_string(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "the command is empty"),
    })?;
    let (output, writer) = std::io::pipe().map_err(StartError::Pipe)?;
    let second = writer.try_clone().map_err(StartError::Pipe)?;
    let mut command = Command::new(locate(program, &plan.working_directory));
    command
        .args(arguments)
        .current_dir(&plan.working_directory)
        .env_clear()
        .envs(&plan.env)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second)
        .process_group(0);
    let child = command.spawn().map_err(|source| StartError::Spawn {
        program: program.clone(),
        directory: plan.working_directory.display().to_string(),
        source,
    })?;
    // The process is reaped by the supervisor, with everything else that ends below it.
    Ok(Started { pid: Pid::from_raw(child.id().cast_signed()), output })
}

/// A program of the image is meant where there is one; otherwise PATH is asked.
fn locate(program: &str, directory: &Path) -> std::path::PathBuf {
    let own = directory.join(program);
    if program.starts_with('/') || own.is_file() { own } else { program.into() }
}

fn fill(plan: &Plan, template: &str) -> std::io::Result<()> {
    let source = plan.working_directory.join(template);
    let text = std::fs::read_to_string(&source)?;
    let target = template.strip_suffix(".template").unwrap_or(template);
    std::fs::write(plan.working_directory.join(target), fill_template(&text, &plan.env))
}
