//! The project on disk: where its barge.yaml is, what it says, where its built files are and what starts them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use barge_image::base::lock;
use barge_image::scan::{Found, FoundKind};
use barge_image::{detect, scan};
use barge_model::manifest::{Command, MAX_MANIFEST_BYTES, Manifest, ManifestError, ServiceConfig, parse};
use barge_model::{EnvironmentName, ServiceName};

use crate::failure::{Failure, Kind};

/// The file that makes a directory a project.
pub(crate) const MANIFEST: &str = "barge.yaml";

/// The base that holds nothing.
pub(crate) const SCRATCH: &str = "scratch";

/// What does not belong into an image when the project's own directory is what is built. `.env` holds secrets more often than not.
pub(crate) const LEFT_OUT: [&str; 5] = [MANIFEST, lock::FILE, ".git", ".gitignore", ".env"];

/// As much of a barge.yaml as may be in one, and the file's size: what is larger is refused, and need not be in memory for that.
fn beginning(path: &Path) -> std::io::Result<(Vec<u8>, usize)> {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    // One byte more, for a file that grows meanwhile or does not tell its size.
    file.take(MAX_MANIFEST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let size = size.max(bytes.len());
    Ok((bytes, size))
}

/// A project.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Where its barge.yaml is.
    pub(crate) directory: PathBuf,
    /// What that says.
    pub(crate) manifest: Manifest,
}

impl Project {
    /// The project in `start` or in a directory above it.
    pub(crate) fn find(start: &Path) -> Result<Option<Self>, Failure> {
        let start = std::path::absolute(start).map_err(|error| Failure::io("find the current directory", &error))?;
        let found = start.ancestors().find(|directory| directory.join(MANIFEST).is_file());
        found.map(Self::load).transpose()
    }

    /// The name in a barge.yaml that as a whole cannot be understood.
    pub(crate) fn name_near(start: &Path) -> Option<ServiceName> {
        let directory = start.ancestors().find(|directory| directory.join(MANIFEST).is_file())?;
        let (bytes, _) = beginning(&directory.join(MANIFEST)).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut names = text.lines().filter_map(|line| line.strip_prefix("name:"));
        let name = names.next()?.split(" #").next()?.trim().trim_matches(['"', '\'']);
        ServiceName::new(name).ok().filter(|_| names.next().is_none())
    }

    /// The project in `directory` or above it, without which a command makes no sense.
    pub(crate) fn require(directory: Option<&Path>) -> Result<Self, Failure> {
        let start = directory.unwrap_or(Path::new("."));
        if !start.is_dir() {
            return Err(Failure::new(Kind::Usage, format!("{} is not a directory", start.display())));
        }
        Self::find(start)?.ok_or_else(|| {
            let place = std::path::absolute(start).unwrap_or_else(|_| start.to_owned());
            Failure::new(Kind::Usage, format!("there is no {MANIFEST} in {} or above it", place.display()))
                .hint("`barge init` writes one from what it finds")
        })
    }

    /// The project in `directory`.
    pub(crate) fn load(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(MANIFEST);
        let (bytes, size) =
            beginning(&path).map_err(|error| Failure::io(format!("read {}", path.display()), &error))?;
        let parsed = if size > MAX_MANIFEST_BYTES { Err(ManifestError::TooLarge { size }) } else { parse(&bytes) };
        let manifest = parsed.map_err(|error| {
            let told = error.to_string();
            // Editors and terminals turn PATH:LINE:COLUMN into a link.
            let told = told.strip_prefix(MANIFEST).map_or(told.clone(), |rest| format!("{}{rest}", path.display()));
            Failure::new(Kind::Usage, told).hint_if(error.meant())
        })?;
        Ok(Self { directory: directory.to_owned(), manifest })
    }

    /// Where the built files are.
    pub(crate) fn build_path(&self) -> PathBuf {
        match &self.manifest.build.path {
            Some(path) => self.directory.join(path),
            None => detect::build_path(&self.directory, self.manifest.name.as_str()),
        }
    }

    /// The base image that barge.yaml names; a layout or a tar is named relative to the project.
    pub(crate) fn base(&self) -> Option<String> {
        let base = self.manifest.build.base.as_deref()?;
        Some(match base.split_once(':') {
            Some((kind @ ("oci" | "tar"), path)) => format!("{kind}:{}", self.directory.join(path).display()),
            _ => base.to_owned(),
        })
    }

    /// What of the built files stays out of the image.
    pub(crate) fn left_out(&self) -> &'static [&'static str] {
        if self.is_built_itself() { &LEFT_OUT } else { &[] }
    }

    /// Whether the project's own directory holds what is to run, as with scripts and static pages.
    pub(crate) fn is_built_itself(&self) -> bool {
        let same = |path: &Path| path.canonicalize().ok();
        same(&self.build_path()) == same(&self.directory)
    }

    /// What starts the service: as written, else as found.
    pub(crate) fn command(&self) -> Result<Command, Failure> {
        let path = self.build_path();
        let found = scan::scan(&path, self.left_out()).map_err(|error| {
            Failure::from_error(Kind::Usage, &error)
                .context(&format!("look at the built files of {}", self.manifest.name))
                .hint("build the project first, or name its built files in barge.yaml: `build: {path: DIRECTORY}`")
        })?;
        match &self.manifest.command {
            Some(command) => {
                if self.base().is_none_or(|base| base == SCRATCH) {
                    check_program(&command.0, &found)?;
                }
                Ok(command.clone())
            }
            None => {
                detect::command(&found, self.manifest.name.as_str()).map(Command).ok_or_else(|| self.no_command(&path))
            }
        }
    }

    fn no_command(&self, path: &Path) -> Failure {
        let name = &self.manifest.name;
        let looked = format!(
            "{} holds no start.sh, no program named {name}, and not exactly one program or jar",
            path.display()
        );
        Failure::new(Kind::Usage, format!("nothing says how to start {name}: {looked}"))
            .hint("add it to barge.yaml, such as `command: ./server --port $PORT`")
    }

    /// The configuration in one environment.
    pub(crate) fn configuration(
        &self,
        environment: &EnvironmentName,
        command: Command,
    ) -> Result<ServiceConfig, Failure> {
        self.manifest.resolve(environment, Some(command)).map_err(|error| {
            let path = self.directory.join(MANIFEST);
            Failure::from_error(Kind::Usage, &error).context(&format!("{}, for {environment}", path.display()))
        })
    }
}

/// A command such as `./server` must name a program that is there; the failed start that it would lead to costs more time.
fn check_program(command: &[String], found: &[Found]) -> Result<(), Failure> {
    let Some(path) = command.first().and_then(|program| program.strip_prefix("./")) else { return Ok(()) };
    let Some(item) = found.iter().find(|item| item.path == path) else {
        // A template is filled at start and may well become a program.
        if found.iter().any(|item| item.path.strip_suffix(".template") == Some(path)) {
            return Ok(());
        }
        let failure =
            Failure::new(Kind::Usage, format!("the command starts ./{path}, which is not among the built files"));
        let programs = found.iter().filter(|item| matches!(item.kind, FoundKind::File { executable: true, .. }));
        let names: Vec<String> = programs.take(5).map(|item| format!("./{}", item.path)).collect();
        return Err(match names.is_empty() {
            true => failure.hint("none of them is executable; `chmod +x` makes a file a program"),
            false => failure.hint(format!("programs among them: {}", names.join(", "))),
        });
    };
    match item.kind {
        FoundKind::File { executable: false, .. } => {
            Err(Failure::new(Kind::Usage, format!("the command starts ./{path}, which is not executable"))
                .hint(format!("`chmod +x {path}`")))
        }
        FoundKind::Directory => {
            Err(Failure::new(Kind::Usage, format!("the command starts ./{path}, which is a directory")))
        }
        _ => Ok(()),
    }
}
