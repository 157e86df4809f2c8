//! Starts the business process: templates, variables, a process group of its own, one pipe for all output.

use std::io::{ErrorKind, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::plan::{Plan, expand, fill_template};
use crate::processes::INSTANCE_MARK;
use crate::status::Ending;

/// Why the process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("fill template {path}")]
    Template { path: String, source: std::io::Error },
    #[error("enter the group that limits the instance, {path}")]
    Group { path: String, source: std::io::Error },
    #[error("make a pipe for the output")]
    Pipe(#[source] std::io::Error),
    #[error("enter the working directory {path}")]
    Directory { path: String, source: std::io::Error },
    #[error("start {program:?} in {directory}{hint}")]
    Spawn { program: String, directory: String, hint: &'static str, source: std::io::Error },
}

impl StartError {
    /// How a shell would count this: 127 for a command that is not there, 126 for one that cannot be executed.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            StartError::Spawn { source, .. } => match source.kind() {
                ErrorKind::NotFound => Ending::Exited { code: 127 },
                ErrorKind::PermissionDenied | ErrorKind::IsADirectory => Ending::Exited { code: 126 },
                // ENOEXEC: neither a program of this machine's kind nor a script with a first line.
                _ if source.raw_os_error() == Some(8) => Ending::Exited { code: 126 },
                _ => Ending::NotStarted,
            },
            _ => Ending::NotStarted,
        }
    }
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
    let directory = plan.working_directory.display().to_string();
    std::fs::read_dir(&plan.working_directory)
        .map_err(|source| StartError::Directory { path: directory.clone(), source })?;
    let words: Vec<String> = plan.command.iter().map(|word| expand(word, &plan.env)).collect();
    let (program, arguments) = words.split_first().ok_or_else(|| StartError::Spawn {
        program: String::new(),
        directory: directory.clone(),
        hint: "",
        source: std::io::Error::new(ErrorKind::InvalidInput, "the command is empty"),
    })?;
    let (output, writer) = std::io::pipe().map_err(StartError::Pipe)?;
    let second = writer.try_clone().map_err(StartError::Pipe)?;
    let file = locate(program, &plan.working_directory);
    let mut command = Command::new(&file);
    command
        .args(arguments)
        .current_dir(&plan.working_directory)
        .env_clear()
        .envs(&plan.env)
        .env(INSTANCE_MARK, &plan.instance)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second)
        .process_group(0);
    let limited = limit_open_files(plan.open_files);
    let spawned = command.spawn();
    if let Some(before) = limited {
        limit_open_files(Some(before));
    }
    let child = spawned.map_err(|source| {
        let hint = hint(&plan.working_directory.join(&file), &source);
        StartError::Spawn { program: program.clone(), directory, hint, source }
    })?;
    // The process is reaped by the supervisor, with everything else that ends below it.
    Ok(Started { pid: Pid::from_raw(child.id().cast_signed()), output })
}

/// Sets the soft limit of open files, which the process inherits; the result is the one of before, where it was changed.
fn limit_open_files(limit: Option<u64>) -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = limit.map(|limit| limit.min(hard)).filter(|wanted| *wanted != soft)?;
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).ok()?;
    Some(soft)
}

/// A program of the image is meant where there is one; otherwise PATH is asked.
fn locate(program: &str, directory: &Path) -> std::path::PathBuf {
    let own = directory.join(program);
    if program.starts_with('/') || own.is_file() { own } else { program.into() }
}

/// What the system's own words leave out.
fn hint(file: &Path, error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound if file.is_file() => {
            "; the file is there, but the interpreter in its first line, or the loader that it was built for, is not"
        }
        ErrorKind::PermissionDenied if file.is_file() => "; the file is not executable (chmod +x)",
        _ if error.raw_os_error() == Some(8) => {
            "; it is neither a program for this machine nor a script whose first line names an interpreter (#!)"
        }
        _ => "",
    }
}

fn fill(plan: &Plan, template: &str) -> std::io::Result<()> {
    let source = plan.working_directory.join(template);
    let text = std::fs::read_to_string(&source)?;
    let target = template.strip_suffix(".template").unwrap_or(template);
    let target = plan.working_directory.join(target);
    std::fs::write(&target, fill_template(&text, &plan.env))?;
    // A script stays a script.
    std::fs::set_permissions(&target, std::fs::metadata(&source)?.permissions())
}
