//! A jar with a main class: with its libraries beside it, or with everything in it.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use barge_image::plan::{Content, Entry};
use barge_image::scan::ScanError;

use crate::files::{Files, plain, tree};
use crate::layers::{self, Layers, Part};
use crate::manifest::Attributes;
use crate::plan::{JavaPlan, Options, PlanError};
use crate::start::{self, Launch, Program};

/// Directories beside a jar that build plugins copy its libraries to, in the order in which they are looked for.
const LIBRARY_DIRECTORIES: [&str; 5] = ["lib", "libs", "dependency", "dependencies", "dependency-jars"];

/// What a program needs beside its own jar.
#[derive(Debug, Default)]
struct Beside {
    files: Vec<BesideFile>,
    /// The class path after the program's own classes.
    class_path: Vec<String>,
    notes: Vec<String>,
    warnings: Vec<String>,
    why: String,
}

/// One file of these, or a link.
#[derive(Debug)]
struct BesideFile {
    source: PathBuf,
    /// Where it goes below /app.
    target: String,
    entry: Entry,
}

/// Plans.
pub(crate) fn plan(files: &Files, attributes: &Attributes, options: &Options) -> Result<JavaPlan, PlanError> {
    let main = attributes.get("Main-Class").ok_or_else(|| PlanError::Library(files.root().to_owned()))?;
    let beside = match attributes.get("Class-Path") {
        Some(entries) => named(files.root(), entries)?,
        None => directory(files.root())?,
    };
    let mut layers = Layers::new(files.root());
    let alone = beside.files.is_empty();
    let is_spring = start::is_spring(beside.files.iter().map(|file| file.target.as_str()));
    for BesideFile { target, entry, .. } in beside.files {
        layers.put(of_beside(&target), &target, entry)?;
    }
    let whole = alone || must_stay_whole(files, attributes);
    let own = put_own(&mut layers, files, whole)?;
    let mut class_path = vec![own];
    class_path.extend(beside.class_path);
    if is_spring || files.has("org/springframework/boot/SpringApplication.class") {
        class_path.push(start::put_spring(&mut layers, options)?);
    }
    let mut notes = beside.notes;
    if alone && files.iter().map(|file| file.size).sum::<u64>() > 8 << 20 {
        notes.push(
            "the jar has everything in it, so that each change is a change of all of it: with its libraries in lib/ beside it, \
             only the classes would be pushed again"
                .to_owned(),
        );
    }
    let program = Program {
        kind: if alone { "jar" } else { "jar with libraries" }.to_owned(),
        why: format!("its manifest names the class {main}{}", beside.why),
        class_path,
        launch: Launch::Class(main.to_owned()),
        asked: start::of_manifest(attributes),
    };
    let mut warnings = beside.warnings;
    warnings.extend(own_warnings(files, attributes));
    Ok(JavaPlan { notes, warnings, ..program.plan(layers, options)? })
}

fn own_warnings(files: &Files, attributes: &Attributes) -> Vec<String> {
    let mut warnings = start::unused(attributes);
    if files.root().is_dir() && attributes.is_true("Multi-Release") {
        warnings.push(
            "the manifest says Multi-Release, which a JVM heeds in jars only: classes for other versions of Java have no effect; \
             `build: {path: FILE}` can name the jar that was unpacked"
                .to_owned(),
        );
    }
    warnings
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
fn file_entry(source: &Path) -> Result<Entry, PlanError> {
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
            beside.files.push(BesideFile { entry: file_entry(&source)?, source, target });
        } else if !path.ends_with('/') && !source.is_dir() {
            missing.push(entry.to_owned());
        } else if !source.is_dir() {
            beside.notes.push(left_out(entry, "is not there"));
        } else if let Some(target) = directory_target(&path) {
            if stays_below(parent, &source) {
                put_directory(&mut beside, &source, &target)?;
            } else {
                beside.warnings.push(left_out(entry, "is reached by a link that leads out of the jar's directory"));
            }
        } else {
            beside.notes.push(left_out(entry, "holds more than the program"));
        }
    }
    // A directory may hold a library that is named as well, and then has the same place.
    let mut placed = HashSet::new();
    beside.files.retain(|file| placed.insert((file.source.clone(), file.target.clone())));
    if missing.is_empty() { Ok(beside) } else { Err(PlanError::Missing { path: jar.to_owned(), missing }) }
}

fn left_out(directory: &str, why: &str) -> String {
    format!("the directory {directory:?} of the manifest's Class-Path {why}, and is left out")
}

/// Whether a path below a directory leads to something that is there in truth.
fn stays_below(directory: &Path, path: &Path) -> bool {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let real = directory.canonicalize().and_then(|directory| Ok(path.canonicalize()?.starts_with(directory)));
    real.unwrap_or_default()
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
    plain(path).filter(|path| !path.is_empty())
}

fn put_directory(beside: &mut Beside, source: &Path, target: &str) -> Result<(), PlanError> {
    let found = match tree(source) {
        // Java finds nothing there either.
        Err(PlanError::Scan(ScanError::Empty(_))) => return Ok(()),
        found => found?,
    };
    let file = |(path, entry): (String, Entry)| BesideFile {
        source: source.join(&path),
        target: format!("{target}/{path}"),
        entry,
    };
    beside.files.extend(found.into_iter().map(file));
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
            let mut beside = Beside::default();
            for source in jars {
                let target = format!("lib/{}", file_name(&source));
                beside.class_path.push(target.clone());
                beside.files.push(BesideFile { entry: file_entry(&source)?, source, target });
            }
            beside.why = format!(", and its libraries are in {name}/ beside it");
            beside.notes =
                vec![format!("nothing says in which order {name}/ is looked through: it is that of the names")];
            return Ok(beside);
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
