//! Starts processes: templates, variables, a process group of its own for each, pipes for the output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Group, Pid, Uid, User};

use crate::plan::{Limit, Plan, Process, expand, fill_template, umask_of};
use crate::processes::INSTANCE_MARK;
use crate::status::Ending;
use crate::system::{OwnSettings, set_before_exec};

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("fill template {path}")]
    Template { path: String, source: std::io::Error },
    #[error("open the group that limits the instance, {path}")]
    Group { path: String, source: std::io::Error },
    #[error("make a pipe for the output")]
    Pipe(#[source] std::io::Error),
    #[error("enter the working directory {path}")]
    Directory { path: String, source: std::io::Error },
    #[error("find the user {user:?}; a number needs no entry in /etc/passwd")]
    User { user: String, source: std::io::Error },
    #[error("read the limit of {limit:?}")]
    Limit { limit: Limit, source: std::io::Error },
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
    pub(crate) stdout: PipeReader,
    /// Where the two are kept apart.
    pub(crate) stderr: Option<PipeReader>,
}

/// Fills the plan's templates.
pub(crate) fn fill_templates(plan: &Plan) -> Result<(), StartError> {
    for template in &plan.templates {
        fill(&plan.main, template).map_err(|source| StartError::Template { path: template.clone(), source })?;
    }
    Ok(())
}

/// Starts a process of the plan.
pub(crate) fn start(plan: &Plan, process: &Process) -> Result<Started, StartError> {
    let (stdout, writer) = std::io::pipe().map_err(StartError::Pipe)?;
    let mut command = prepare(plan, process, &process.command)?;
    // Whoever only keeps them may as well keep them in their order.
    let stderr = if plan.output.pass_on {
        let (reader, errors) = std::io::pipe().map_err(StartError::Pipe)?;
        command.stderr(errors);
        Some(reader)
    } else {
        command.stderr(writer.try_clone().map_err(StartError::Pipe)?);
        None
    };
    command.stdout(writer);
    let child = spawn(&mut command, process)?;
    // The process is reaped by the supervisor, with everything else that ends below it.
    Ok(Started { pid: Pid::from_raw(child.id().cast_signed()), stdout, stderr })
}

/// Starts a command in the place of a process and with all that is its own, without output, and without input, which is for the process
/// alone: a check.
pub(crate) fn start_check(plan: &Plan, process: &Process, words: &[String]) -> Result<Child, StartError> {
    let mut command = prepare(plan, process, words)?;
    spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()), process)
}

fn spawn(command: &mut Command, process: &Process) -> Result<Child, StartError> {
    command.spawn().map_err(|source| {
        let program = command.get_program().to_string_lossy().into_owned();
        let hint = hint(&process.working_directory.join(&program), &source);
        StartError::Spawn { program, directory: process.working_directory.display().to_string(), hint, source }
    })
}

fn prepare(plan: &Plan, process: &Process, words: &[String]) -> Result<Command, StartError> {
    let directory = &process.working_directory;
    std::fs::metadata(directory)
        .and_then(|meta| if meta.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) })
        .map_err(|source| StartError::Directory { path: directory.display().to_string(), source })?;
    let variables = variables(process);
    let words: Vec<String> = words.iter().map(|word| expand(word, &variables)).collect();
    let (program, arguments) = words.split_first().ok_or_else(|| StartError::Spawn {
        program: String::new(),
        directory: directory.display().to_string(),
        hint: "",
        source: std::io::Error::new(ErrorKind::InvalidInput, "the command is empty"),
    })?;
    let mut command = Command::new(locate(program, directory));
    command.args(arguments).current_dir(directory);
    if !process.inherit_env {
        command.env_clear();
    }
    command.envs(&process.env).env(INSTANCE_MARK, &plan.instance).process_group(0);
    command.stdin(if process.inherit_stdin { Stdio::inherit() } else { Stdio::null() });
    if let Some(user) = &process.user {
        let (uid, gid) = find_user(user).map_err(|source| StartError::User { user: user.clone(), source })?;
        // Without groups of our own: the standard library drops those when the user is another one.
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
    set_before_exec(&mut command, own_settings(plan, process)?);
    Ok(command)
}

/// The variables that commands may name.
fn variables(process: &Process) -> BTreeMap<String, String> {
    let inherited = std::env::vars_os().filter(|_| process.inherit_env);
    let text = |word: OsString| word.into_string().ok();
    let mut all: BTreeMap<String, String> =
        inherited.filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
    all.extend(process.env.clone());
    all
}

fn own_settings(plan: &Plan, process: &Process) -> Result<OwnSettings, StartError> {
    let open = |path: &PathBuf| {
        let opened = File::options().write(true).open(path);
        opened.map_err(|source| StartError::Group { path: path.display().to_string(), source })
    };
    let groups = plan.groups.iter().map(open).collect::<Result<_, _>>()?;
    let mut limits = Vec::new();
    for (limit, wanted) in &process.limits {
        let resource = resource(*limit);
        let (_, hard) =
            getrlimit(resource).map_err(|error| StartError::Limit { limit: *limit, source: error.into() })?;
        limits.push((resource, (*wanted).min(hard), hard));
    }
    Ok(OwnSettings { groups, limits, umask: process.umask.as_deref().and_then(umask_of) })
}

fn resource(limit: Limit) -> Resource {
    match limit {
        Limit::OpenFiles => Resource::RLIMIT_NOFILE,
        Limit::Processes => Resource::RLIMIT_NPROC,
        Limit::Core => Resource::RLIMIT_CORE,
        Limit::FileSize => Resource::RLIMIT_FSIZE,
        Limit::Stack => Resource::RLIMIT_STACK,
        Limit::LockedMemory => Resource::RLIMIT_MEMLOCK,
        Limit::AddressSpace => Resource::RLIMIT_AS,
    }
}

/// A user and a group from `USER`, `UID`, `USER:GROUP` or `UID:GID`. A number without an entry has itself as its group.
fn find_user(text: &str) -> std::io::Result<(Uid, Gid)> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let (uid, own) = match user.parse::<u32>() {
        Ok(number) => {
            let uid = Uid::from_raw(number);
            let found = User::from_uid(uid).ok().flatten();
            (uid, found.map_or(Gid::from_raw(number), |user| user.gid))
        }
        Err(_) => {
            let found = User::from_name(user)?.ok_or(ErrorKind::NotFound)?;
            (found.uid, found.gid)
        }
    };
    let gid = match group.map(|group| (group, group.parse::<u32>())) {
        None => own,
        Some((_, Ok(number))) => Gid::from_raw(number),
        Some((name, Err(_))) => Group::from_name(name)?.ok_or(ErrorKind::NotFound)?.gid,
    };
    Ok((uid, gid))
}

/// A program of the image is meant where there is one; otherwise PATH is asked.
pub(crate) fn locate(program: &str, directory: &Path) -> PathBuf {
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

fn fill(main: &Process, template: &str) -> std::io::Result<()> {
    let source = main.working_directory.join(template);
    let text = std::fs::read_to_string(&source)?;
    let target = template.strip_suffix(".template").unwrap_or(template);
    let target = main.working_directory.join(target);
    std::fs::write(&target, fill_template(&text, &variables(main)))?;
    // A script stays a script.
    std::fs::set_permissions(&target, std::fs::metadata(&source)?.permissions())
}
