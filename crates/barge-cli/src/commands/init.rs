//! `barge init`: writes a barge.yaml from what it finds.

use std::io::Write;
use std::path::{Path, PathBuf};

use barge_image::{detect, scan};
use barge_java::{Options, artifact};
use barge_model::ServiceName;
use barge_model::manifest::parse;
use clap::ValueEnum;
use serde::Serialize;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::project::{LEFT_OUT, MANIFEST};
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
The name is taken from the directory's; built files and the command that starts them are looked for. \
A barge.yaml that is there already is never changed.

Examples:
  barge init
  barge init services/checkout --kind rpc
  barge init -m checkout";

/// Write a barge.yaml from what is found
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The project's directory
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// What the service is to its callers
    #[arg(long, default_value = "web")]
    kind: Kinds,
}

/// Kinds of services, for the command line.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kinds {
    /// HTTP behind the gateway
    Web,
    /// A protocol of its own, found through the registry
    Rpc,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    path: PathBuf,
    name: ServiceName,
    kind: Kinds,
    /// The built files that `barge build` will take.
    files: PathBuf,
    /// What will start them, where that is clear.
    command: Option<Vec<String>>,
}

/// Runs the command.
pub(crate) fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let directory = std::fs::canonicalize(&args.directory)
        .map_err(|error| Failure::io(format!("find the directory {}", args.directory.display()), &error))?;
    let name = match &globals.service {
        Some(name) => name.clone(),
        None => name_from(&directory)?,
    };
    let found = look(&directory, &name);
    let path = directory.join(MANIFEST);
    let text = manifest(&name, args.kind, &found, &directory);
    write_new(&path, &text)?;
    let next = found.next;
    let answer = Answer { path, name, kind: args.kind, files: found.files, command: found.command };
    terminal.data(&answer, |_| told(&answer, &text, &next))
}

/// What was found in a directory.
struct Found {
    files: PathBuf,
    command: Option<Vec<String>>,
    /// Whether it is a Java project, of which nothing needs to be said.
    java: bool,
    /// What comes next, in words.
    next: String,
}

fn look(directory: &Path, name: &ServiceName) -> Found {
    match artifact::find(directory) {
        Ok(Some(program)) => {
            let plan = barge_java::plan(&program, &Options::default());
            let next = match &plan {
                Ok(plan) => format!(
                    "`barge deploy` releases it ({}); `barge build --explain` shows what it is made of",
                    plan.kind
                ),
                Err(error) => format!("{error}; then `barge deploy`"),
            };
            Found { files: program.path, command: plan.ok().map(|plan| plan.command), java: true, next }
        }
        Err(error) => {
            let hint = error.hint().map(|hint| format!("\n{hint}")).unwrap_or_default();
            Found { files: directory.to_owned(), command: None, java: true, next: format!("{error}{hint}") }
        }
        Ok(None) => look_for_files(directory, name),
    }
}

fn look_for_files(directory: &Path, name: &ServiceName) -> Found {
    let files = detect::build_path(directory, name.as_str());
    let left_out: &[&str] = if files == directory { &LEFT_OUT } else { &[] };
    let found = scan::scan(&files, left_out).unwrap_or_default();
    let command = detect::command(&found, name.as_str());
    let next = match &command {
        Some(_) => "`barge deploy` releases it",
        None => "it does not know how to start it: set `command`, then `barge deploy`",
    };
    Found { files, command, java: false, next: next.to_owned() }
}

fn told(answer: &Answer, text: &str, next: &str) -> String {
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    format!("wrote {}\n\n{indented}\n{next}", answer.path.display())
}

/// The file's text: what must be said, and as comments what was found and can be said otherwise.
fn manifest(name: &ServiceName, kind: Kinds, found: &Found, directory: &Path) -> String {
    let kind = match kind {
        Kinds::Web => "web",
        Kinds::Rpc => "rpc",
    };
    if found.java {
        return format!("name: {name}\nkind: {kind}\n");
    }
    let files = found.files.strip_prefix(directory).ok().filter(|path| !path.as_os_str().is_empty());
    let files = files.map_or_else(|| ".".to_owned(), |path| path.display().to_string());
    let start = match &found.command {
        Some(words) => format!("# command: {}    # found; run in /app", words.join(" ")),
        None => "# command: ./server --port $PORT    # what starts it, run in /app".to_owned(),
    };
    format!("name: {name}\nkind: {kind}\n# build: {{path: {files}}}    # found\n{start}\n# replicas: 2\n")
}

/// Writes the file, which must not be there; two at once cannot both win.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    if let Err(error) = parse(text.as_bytes()) {
        return Err(Failure::from_error(Kind::General, &error).context("make a barge.yaml"));
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Kind::General, format!("{} is there already and stays as it is", path.display()))
                .hint("`barge deploy` releases it; to begin anew, remove it first")
        }
        _ => Failure::io(format!("write {}", path.display()), &error),
    })
}

/// A directory's name as a service's name: lower case, everything else a hyphen.
fn name_from(directory: &Path) -> Result<ServiceName, Failure> {
    let base = directory.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mut name = String::new();
    for letter in base.chars() {
        match letter {
            'a'..='z' | '0'..='9' => name.push(letter),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    let name = name.trim_start_matches(|letter: char| !letter.is_ascii_lowercase());
    let name: String = name.chars().take(40).collect();
    ServiceName::new(name.trim_end_matches('-')).map_err(|_| {
        let what = format!("the directory's name {base:?} does not make a service name");
        Failure::new(Kind::Usage, what).hint("give one with -m NAME: letters a-z, digits and '-'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_become_service_names() {
        let check = |directory: &str, expected: Option<&str>| {
            let name = name_from(Path::new(directory)).ok();
            assert_eq!(name.as_ref().map(ServiceName::as_str), expected, "{directory}");
        };
        check("/src/greeter", Some("greeter"));
        check("/src/My_Greeter.v2", Some("my-greeter-v2"));
        check("/src/2-fast", Some("fast"));
        check("/src/--x--", Some("x"));
        check("/src/a-very-long-name-that-goes-on-for-much-x-longer", Some("a-very-long-name-that-goes-on-for-much-x"));
        check("/src/日本", None);
        check("/", None);
    }
}
