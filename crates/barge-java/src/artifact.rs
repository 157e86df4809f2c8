//! Which of a project's files is the one to run.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::kinds::{install, quarkus};

/// Why there is no doubt-free answer.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// More than one may be meant.
    #[error("{} files may be the program: {}", .0.len(), names(.0))]
    Several(Vec<PathBuf>),
    /// A project of Maven or Gradle without any result of a build.
    #[error("{build_file} is there, and nothing is built: no jar or war in {}", looked.join(" or "))]
    NotBuilt {
        /// The file that made it a project.
        build_file: PathBuf,
        /// Where the build would put it.
        looked: Vec<&'static str>,
        /// What builds it.
        command: &'static str,
    },
    /// A directory cannot be listed.
    #[error("look into {path}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl ArtifactError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Several(paths) => {
                let first = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
                Some(format!("say which one in barge.yaml: `build: {{path: {first}}}`"))
            }
            Self::NotBuilt { command, .. } => Some(format!(
                "`{command}` first; where the program is in another module, name it in barge.yaml: `build: {{path: MODULE/target/FILE}}`"
            )),
            Self::Read { .. } => None,
        }
    }
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// What Maven or Gradle built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The jar or war, or the directory of a Quarkus or Gradle application, or of one that was unpacked.
    pub path: PathBuf,
}

/// A build tool.
struct Tool {
    /// Files that make a directory a project of it.
    build_files: &'static [&'static str],
    /// What builds.
    command: &'static str,
    /// Where jars and wars are then.
    output: &'static str,
    /// Where Quarkus puts its application.
    quarkus: &'static str,
    /// Where sources are, and what else decides about the result.
    sources: &'static [&'static str],
}

const TOOLS: [Tool; 2] = [
    Tool {
        build_files: &["pom.xml"],
        command: "mvn package",
        output: "target",
        quarkus: "target/quarkus-app",
        sources: &["src/main", "pom.xml"],
    },
    Tool {
        build_files: &["build.gradle", "build.gradle.kts"],
        command: "gradle build",
        output: "build/libs",
        quarkus: "build/quarkus-app",
        sources: &["src/main", "build.gradle", "build.gradle.kts"],
    },
];

/// Directories of other build tools, which are built instead where nothing says Maven or Gradle.
const OF_OTHERS: [&str; 4] = ["dist", "out", "public", "bin"];

/// The most files of sources that are compared with an artifact.
const MAX_SOURCES: usize = 20_000;

/// Looks in `target` and `build/libs` of `project`; none where it is no Java project. Paths are below `project`.
///
/// # Errors
/// Several may be meant, or nothing is built.
pub fn find(project: &Path) -> Result<Option<Artifact>, ArtifactError> {
    let build_file = |tool: &Tool| tool.build_files.iter().find(|name| project.join(name).is_file()).copied();
    let used: Vec<(&Tool, &str)> = TOOLS.iter().filter_map(|tool| Some((tool, build_file(tool)?))).collect();
    if used.is_empty() && OF_OTHERS.iter().any(|name| project.join(name).is_dir()) {
        return Ok(None);
    }
    let looked: Vec<&Tool> =
        if used.is_empty() { TOOLS.iter().collect() } else { used.iter().map(|(tool, _)| *tool).collect() };
    let mut found = Vec::new();
    for tool in looked {
        found.extend(built_by(tool, project)?);
    }
    match (found.len(), used.first()) {
        (0, None) => Ok(None),
        (0, Some((tool, build_file))) => Err(ArtifactError::NotBuilt {
            build_file: PathBuf::from(build_file),
            looked: used.iter().map(|(tool, _)| tool.output).collect(),
            command: tool.command,
        }),
        (1, _) => Ok(found.pop().map(|path| Artifact { path: project.join(path) })),
        _ => Err(ArtifactError::Several(found)),
    }
}

/// What one tool has built, as paths below the project.
fn built_by(tool: &Tool, project: &Path) -> Result<Vec<PathBuf>, ArtifactError> {
    if quarkus::is(&project.join(tool.quarkus)) {
        return Ok(vec![PathBuf::from(tool.quarkus)]);
    }
    let installed = list(&project.join("build/install"))?;
    let installed = installed.into_iter().map(|name| Path::new("build/install").join(name));
    let mut installed = installed.filter(|path| tool.output != "target" && install::is(&project.join(path)));
    if let Some(path) = installed.next() {
        return Ok(std::iter::once(path).chain(installed).collect());
    }
    let mut names = list(&project.join(tool.output))?;
    names.retain(|name| project.join(tool.output).join(name).is_file());
    Ok(programs(&names).into_iter().map(|name| Path::new(tool.output).join(name)).collect())
}

/// The names in a directory, sorted; none where there is no such directory. A name that is no text is no program's.
fn list(directory: &Path) -> Result<Vec<String>, ArtifactError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(ArtifactError::Read { path: directory.to_owned(), source }),
    };
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Which of the files that a build leaves in its directory may be programs.
fn programs(names: &[String]) -> Vec<&str> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let beside = ["-sources", "-javadoc", "-tests", "-test-sources", "-test-fixtures"];
    let is_beside = |stem: &str| beside.iter().any(|end| stem.ends_with(end));
    let jars = names.iter().filter_map(|name| Some((name.as_str(), name.strip_suffix(".jar")?)));
    let jars = jars.filter(|(name, stem)| {
        let plain =
            stem.strip_suffix("-plain").is_some_and(|stem| has(&format!("{stem}.jar")) || has(&format!("{stem}.war")));
        let classes = stem.strip_suffix("-classes").is_some_and(|stem| has(&format!("{stem}.war")));
        let shaded = name.strip_prefix("original-").is_some_and(has);
        // A war's plugin may leave the jar of its classes under the same name.
        !is_beside(stem) && !plain && !classes && !shaded && !has(&format!("{stem}.war"))
    });
    let wars = names.iter().filter_map(|name| Some((name.as_str(), name.strip_suffix(".war")?)));
    let wars = wars.filter(|(_, stem)| !stem.strip_suffix("-plain").is_some_and(|stem| has(&format!("{stem}.war"))));
    let mut programs: Vec<&str> = jars.chain(wars).map(|(name, _)| name).collect();
    programs.sort_unstable();
    programs
}

/// A source that is newer than what was built, as far as can be seen; relative to the project.
pub fn newer_source(project: &Path, artifact: &Artifact) -> Option<PathBuf> {
    let path = if artifact.path.is_dir() { first_file(&artifact.path)? } else { artifact.path.clone() };
    let built = std::fs::metadata(path).ok()?.modified().ok()?;
    let tool = TOOLS.iter().find(|tool| tool.build_files.iter().any(|name| project.join(name).is_file()))?;
    let mut left = MAX_SOURCES;
    tool.sources
        .iter()
        .find_map(|source| newer(&project.join(source), built, &mut left))
        .map(|path| path.strip_prefix(project).map(Path::to_owned).unwrap_or(path))
}

/// The jar that a build writes anew in a directory of an application.
fn first_file(directory: &Path) -> Option<PathBuf> {
    let runner = directory.join("quarkus-run.jar");
    runner.is_file().then_some(runner)
}

fn newer(path: &Path, built: SystemTime, left: &mut usize) -> Option<PathBuf> {
    *left = left.checked_sub(1)?;
    let meta = std::fs::symlink_metadata(path).ok()?;
    if meta.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        entries.sort();
        return entries.into_iter().find_map(|entry| newer(&entry, built, left));
    }
    let modified = meta.modified().ok()?;
    (meta.is_file() && modified > built).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_a_program_is_none() {
        let check = |names: &[&str], expected: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(programs(&names), expected, "{names:?}");
        };
        check(&["a-1.jar", "a-1-sources.jar", "a-1-javadoc.jar", "a-1-tests.jar", "a-1.jar.original"], &["a-1.jar"]);
        check(&["a-1-plain.jar", "a-1.jar"], &["a-1.jar"]);
        check(&["a-1-plain.jar"], &["a-1-plain.jar"]);
        check(&["a-1.jar", "original-a-1.jar"], &["a-1.jar"]);
        check(&["original-a-1.jar"], &["original-a-1.jar"]);
        check(&["a-1-classes.jar", "a-1.war"], &["a-1.war"]);
        check(&["a-1-plain.war", "a-1.war", "a-1.jar"], &["a-1.war"]);
        check(&["a-1.jar", "b-1.jar", "notes.txt"], &["a-1.jar", "b-1.jar"]);
        check(&[], &[]);
    }
}
