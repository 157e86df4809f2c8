//! A jar with a main class: with its libraries beside it, or with everything in it.

use std::collections::{BTreeSet, HashSet};
use std::path::{Component, Path, PathBuf};

use barge_image::plan::{Content, Entry};
use barge_image::scan::{FoundKind, ScanError, scan};

use crate::files::Files;
use crate::layers::{self, Layers, Part};
use crate::manifest::Attributes;
use crate::plan::{JavaPlan, Options, PlanError};
use crate::start::{self, Launch};

/// Directories beside a jar that build plugins copy its libraries to, in the order in which they are looked for.
const LIBRARY_DIRECTORIES: [&str; 5] = ["lib", "libs", "dependency", "dependencies", "dependency-jars"];

/// What a program needs beside its own jar.
#[derive(Debug, Default)]
struct Beside {
    /// Files, and where they go below /app.
    files: Vec<(PathBuf, String)>,
    /// The class path after the program's own classes.
    class_path: Vec<String>,
    notes: Vec<String>,
    why: String,
}

/// Plans.
pub(crate) fn plan(files: &Files, attributes: &Attributes, options: &Options) -> Result<JavaPlan, PlanError> {
    let main = attributes.get("Main-Class").ok_or_else(|| PlanError::Library(files.root().to_owned()))?;
    let beside = match attributes.get("Class-Path") {
        Some(entries) => named(files.root(), entries)?,
        None => directory(files.root())?,
    };
    let mut layers = Layers::new(files.root());
    for (source, target) in &beside.files {
        layers.put(of_beside(target), target, file_entry(source)?)?;
    }
    let alone = beside.files.is_empty();
    let whole = alone || must_stay_whole(files, attributes);
    let own = put_own(&mut layers, files, whole)?;
    let mut class_path = vec![own];
    class_path.extend(beside.class_path.iter().cloned());
    let libraries = beside.files.iter().map(|(_, target)| target.as_str());
    if start::is_spring(libraries) || files.has("org/springframework/boot/SpringApplication.class") {
        class_path.push(start::put_spring(&mut layers, options)?);
    }
    let all = start::put(&mut layers, options, start::of_manifest(attributes), Launch::Class(&class_path, main))?;
    let mut notes = beside.notes;
    if alone && files.iter().map(|file| file.size).sum::<u64>() > 8 << 20 {
        notes.push(
            "the jar has everything in it, so that each change is a change of all of it: with its libraries in lib/ beside it, \
             only the classes would be pushed again"
                .to_owned(),
        );
    }
    Ok(JavaPlan {
        kind: if alone { "jar" } else { "jar with libraries" }.to_owned(),
        why: format!("its manifest names the class {main}{}", beside.why),
        artifact: files.root().to_owned(),
        layers: layers.finish(),
        command: start::command(),
        class_path,
        options: all,
        needs_tomcat: false,
        notes,
        warnings: start::unused(attributes),
    })
}

/// Whether a jar cannot be unpacked, or means something else then: classes for other versions of Java, or signatures.
fn must_stay_whole(files: &Files, attributes: &Attributes) -> bool {
    let signature = |name: &str| name.starts_with("META-INF/") && name.ends_with(".SF");
    files.must_stay_whole() || attributes.is_true("Multi-Release") || files.iter().any(|file| signature(&file.name))
}

/// Puts the program's own files; the result is where they are in the class path.
fn put_own(layers: &mut Layers, files: &Files, whole: bool) -> Result<String, PlanError> {
    if whole && files.root().is_file() {
        let name = file_name(files.root());
        layers.put(Part::Classes, &name, file_entry(files.root())?)?;
        return Ok(name);
    }
    for file in files.iter() {
        let entry = files.entry(file, layers::is_page(&file.name))?;
        layers.put(layers::of_own_file(&file.name), &format!("classes/{}", file.name), entry)?;
    }
    Ok("classes".to_owned())
}

fn of_beside(target: &str) -> Part {
    if target.ends_with(".jar") { layers::of_library(target) } else { Part::Resources }
}

/// A file of its own as an entry.
pub(crate) fn file_entry(source: &Path) -> Result<Entry, PlanError> {
    let read = |error| PlanError::Read { path: source.to_owned(), source: error };
    let size = std::fs::metadata(source).map_err(read)?.len();
    Ok(Entry::File { content: Content::Path(source.to_owned()), size, executable: false, stamped: false })
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a manifest's Class-Path names (JAR File Specification, "Class-Path Attribute"): URLs relative to the jar, separated by spaces.
fn named(jar: &Path, entries: &str) -> Result<Beside, PlanError> {
    let parent = jar.parent().unwrap_or(Path::new(""));
    let mut beside = Beside { why: ", and a Class-Path".to_owned(), ..Beside::default() };
    let (mut missing, mut taken, mut known) = (Vec::new(), BTreeSet::new(), HashSet::new());
    for entry in entries.split_whitespace() {
        let unclear = || PlanError::ClassPathEntry { path: jar.to_owned(), entry: entry.to_owned() };
        let path = decoded(entry.strip_prefix("./").unwrap_or(entry)).ok_or_else(unclear)?;
        if entry.contains(':') || path.starts_with('/') {
            return Err(unclear());
        }
        let source = parent.join(&path);
        if known.contains(&source) {
            continue;
        }
        if source.is_file() && !is_library(&path) {
            // Whoever has made the jar may not be who builds, and any file could be named.
            beside.notes.push(format!("{entry:?} of the manifest's Class-Path is no jar, and is left out"));
        } else if source.is_file() {
            known.insert(source.clone());
            let target = library_target(&path, &taken);
            taken.insert(target.clone());
            beside.class_path.push(target.clone());
            beside.files.push((source, target));
        } else if !path.ends_with('/') && !source.is_dir() {
            missing.push(entry.to_owned());
        } else if let Some(target) = directory_target(&path).filter(|_| source.is_dir()) {
            put_directory(&mut beside, &source, &target)?;
        } else {
            let why = if source.is_dir() { "holds more than the program" } else { "is not there" };
            beside.notes.push(format!("the directory {entry:?} of the manifest's Class-Path {why}, and is left out"));
        }
    }
    // A directory may hold a library that is named as well, and then has the same place.
    let mut placed = HashSet::new();
    beside.files.retain(|file| placed.insert(file.clone()));
    if missing.is_empty() { Ok(beside) } else { Err(PlanError::Missing { path: jar.to_owned(), missing }) }
}

fn is_library(path: &str) -> bool {
    let end = Path::new(path).extension().unwrap_or_default();
    ["jar", "zip", "war"].iter().any(|library| end.eq_ignore_ascii_case(library))
}

/// Where a library goes: into lib/, and into a directory of its own there where its name is taken.
fn library_target(path: &str, taken: &BTreeSet<String>) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let numbered = (2..).map(|number: u32| format!("lib/{number}/{name}"));
    let mut targets = std::iter::once(format!("lib/{name}")).chain(numbered);
    targets.find(|target| !taken.contains(target)).unwrap_or_default()
}

/// A directory's path below /app; none for the jar's own, and for what is not below it.
fn directory_target(path: &str) -> Option<String> {
    let names = Path::new(path).components().filter(|part| *part != Component::CurDir);
    let names: Option<Vec<&str>> =
        names.map(|part| if let Component::Normal(name) = part { name.to_str() } else { None }).collect();
    names.filter(|names| !names.is_empty()).map(|names| names.join("/"))
}

fn put_directory(beside: &mut Beside, source: &Path, target: &str) -> Result<(), PlanError> {
    let found = match scan(source, &[]) {
        // Java finds nothing there either.
        Err(ScanError::Empty(_)) => return Ok(()),
        found => found.map_err(PlanError::Scan)?,
    };
    for item in found {
        if let FoundKind::File { source, .. } = item.kind {
            beside.files.push((source, format!("{target}/{}", item.path)));
        }
    }
    beside.class_path.push(target.to_owned());
    Ok(())
}

/// A URL's path with what is written as %XX.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| *byte != 0)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// Libraries in a directory beside the jar, sorted by their names: the build has not said in which order.
fn directory(jar: &Path) -> Result<Beside, PlanError> {
    let parent = jar.parent().unwrap_or(Path::new(""));
    for name in LIBRARY_DIRECTORIES {
        let jars = jars_in(&parent.join(name))?;
        if jar.is_file() && !jars.is_empty() {
            let files: Vec<_> =
                jars.into_iter().map(|path| (path.clone(), format!("lib/{}", file_name(&path)))).collect();
            let class_path = files.iter().map(|(_, target)| target.clone()).collect();
            let why = format!(", and its libraries are in {name}/ beside it");
            let notes = vec![format!("nothing says in which order {name}/ is looked through: it is that of the names")];
            return Ok(Beside { files, class_path, notes, why });
        }
    }
    Ok(Beside::default())
}

/// The jars in a directory, sorted; none where there is no such directory.
pub(crate) fn jars_in(directory: &Path) -> Result<Vec<PathBuf>, PlanError> {
    let read = |source| PlanError::Read { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(read(error)),
    };
    let mut jars = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|end| end == "jar") && path.is_file() {
            jars.push(path);
        }
    }
    jars.sort();
    Ok(jars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_path_entries_are_urls() {
        for (text, path) in [("a%20b.jar", Some("a b.jar")), ("a+b.jar", Some("a+b.jar")), ("%c3%a9", Some("\u{e9}"))] {
            assert_eq!(decoded(text).as_deref(), path);
        }
        for text in ["%", "%2", "%zz", "%00", "%ff"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn directories_of_a_class_path_lie_below_the_jar() {
        assert_eq!(directory_target("config/"), Some("config".to_owned()));
        assert_eq!(directory_target("./a/./b"), Some("a/b".to_owned()));
        for path in [".", "./", "../x", "a/../..", "/etc"] {
            assert_eq!(directory_target(path), None, "{path}");
        }
    }
}
