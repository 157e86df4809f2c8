//! The Java projects of `examples/`, built by Maven as their authors would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use barge_testkit::tool;

use crate::made::{once, run};

/// A project of `examples/`, in a directory of the test's own, built.
#[derive(Debug)]
pub struct JavaProject {
    directory: PathBuf,
}

impl JavaProject {
    /// A copy of what was built once for each state of the sources. None, said aloud, where there is no Maven or no Java compiler.
    pub fn copy(example: &str, into: &Path) -> Option<Self> {
        tool("javac")?;
        tool("mvn")?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example);
        let built = once(example, &text_of(&sources), |place| {
            run(Command::new("cp").arg("-r").arg(sources.join(".")).arg(place));
            package(place);
        });
        std::fs::create_dir_all(into).unwrap();
        run(Command::new("cp").arg("-a").arg(built.join(".")).arg(into));
        Some(Self { directory: into.to_owned() })
    }

    /// Where something of it is.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.directory.join(inside)
    }

    /// Changes a source file, as somebody with an editor would.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{} has no {from:?}", path.display());
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Builds it again.
    pub fn package(&self) {
        package(&self.directory);
    }
}

/// `mvn package`, which asks nobody as long as it knows all that it needs.
fn package(directory: &Path) {
    let maven = |words: &[&str]| {
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B"]).args(words).arg("package").current_dir(directory);
        maven
    };
    if !maven(&["-o"]).output().unwrap().status.success() {
        run(&mut maven(&[]));
    }
}

/// All that is built, as text: it differs when something differs.
fn text_of(directory: &Path) -> String {
    let mut files = BTreeMap::new();
    read_into(&mut files, directory);
    files.iter().map(|(path, text)| format!("{}\n{text}\n", path.display())).collect()
}

fn read_into(files: &mut BTreeMap<PathBuf, String>, directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What somebody has built there is not what it is built of.
            if !path.ends_with("target") {
                read_into(files, &path);
            }
        } else {
            files.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
        }
    }
}
