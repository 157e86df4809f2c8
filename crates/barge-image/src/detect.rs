//! What a project is, found by looking: where its built files are and what starts them.

use std::path::{Path, PathBuf};

use crate::scan::{Found, FoundKind};

/// Directories that build tools write to, in the order in which they are looked for.
const BUILD_DIRECTORIES: [&str; 5] = ["dist", "build", "out", "public", "bin"];

/// The built files of a project without `build.path`: a well-known directory, else a Rust or Go binary named like the service, else
/// the project's own directory.
pub fn build_path(project: &Path, service: &str) -> PathBuf {
    let binaries = [format!("target/release/{service}"), format!("target/{service}.jar"), service.to_owned()];
    let directory = BUILD_DIRECTORIES.iter().map(|name| project.join(name)).find(|path| path.is_dir());
    directory
        .or_else(|| binaries.iter().map(|name| project.join(name)).find(|path| path.is_file()))
        .unwrap_or_else(|| project.to_owned())
}

/// What starts the files, when there is no doubt: `start.sh`, a program named like the service, the only program, or the only jar.
pub fn command(found: &[Found], service: &str) -> Option<Vec<String>> {
    let top: Vec<(&str, bool)> = found
        .iter()
        .filter_map(|item| match &item.kind {
            FoundKind::File { executable, .. } if !item.path.contains('/') => Some((item.path.as_str(), *executable)),
            _ => None,
        })
        .collect();
    let one = |name: &str| Some(vec![format!("./{name}")]);
    if top.contains(&("start.sh", true)) {
        return one("start.sh");
    }
    if top.contains(&(service, true)) {
        return one(service);
    }
    let mut programs = top.iter().filter(|(name, executable)| *executable && !name.contains('.'));
    if let (Some((name, _)), None) = (programs.next(), programs.next()) {
        return one(name);
    }
    let mut jars = top.iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|end| end == "jar"));
    match (jars.next(), jars.next()) {
        (Some((name, _)), None) => Some(vec!["java".to_owned(), "-jar".to_owned(), (*name).to_owned()]),
        _ => None,
    }
}
