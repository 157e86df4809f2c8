//! From files as build tools leave them to plans.

mod boot;
mod found;
mod gradle;
mod jars;
mod others;
mod started;
mod tomcat;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use barge_image::plan::{Content, Entry, PlannedLayer};
use barge_java::options::Place;
use barge_java::{Artifact, JavaPlan, Options, PlanError};
use tempfile::TempDir;

use crate::archive::{deflated, packed};

/// A project on disk.
pub(crate) struct Project(TempDir);

impl Project {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, and the directories that it is in.
    pub(crate) fn file(&self, path: &str, bytes: &[u8]) -> &Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// Writes an archive; members without content have their names as content.
    pub(crate) fn archive<'a>(&self, path: &str, members: &[(&'a str, &'a str)]) -> &Self {
        let content = |name: &'a str, text: &'a str| if text.is_empty() { name } else { text }.as_bytes();
        let members: Vec<(&str, &[u8])> = members.iter().map(|(name, text)| (*name, content(name, text))).collect();
        self.file(path, &packed(&members, deflated()))
    }

    pub(crate) fn plan_with(&self, path: &str, options: &Options) -> Result<JavaPlan, PlanError> {
        barge_java::plan(&Artifact { path: self.path().join(path) }, options)
    }

    pub(crate) fn plan(&self, path: &str) -> JavaPlan {
        self.plan_with(path, &Options::default()).unwrap()
    }

    pub(crate) fn error(&self, path: &str) -> String {
        let error = self.plan_with(path, &Options::default()).unwrap_err();
        let text = crate::archive::chain(&error).replace(&format!("{}/", self.path().display()), "");
        match error.hint() {
            Some(hint) => format!("{text}\nhint: {hint}"),
            None => text,
        }
    }
}

/// A plan as text: what of it people would look at.
pub(crate) fn told(plan: &JavaPlan) -> String {
    let mut text = format!("{}: {}\ncommand: {}\n", plan.kind, plan.why, plan.command.join(" "));
    for layer in &plan.layers {
        let _ = writeln!(text, "layer {}: {}", layer.name, layer.why);
        for (path, entry) in &layer.entries {
            match entry {
                Entry::Directory => {}
                Entry::Shared => writeln!(text, "  {path}/ for all").unwrap(),
                Entry::Link { target } => writeln!(text, "  {path} -> {target}").unwrap(),
                Entry::File { executable, stamped, .. } => {
                    let marks = [(*executable, " executable"), (*stamped, " stamped")];
                    let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
                    writeln!(text, "  {path}{marks}").unwrap();
                }
            }
        }
    }
    let _ = writeln!(text, "class path: {}", plan.class_path.join(":"));
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// A file of a plan that is in memory.
pub(crate) fn text_of(plan: &JavaPlan, path: &str) -> String {
    let entry = plan.layers.iter().find_map(|layer| layer.entries.get(path)).unwrap();
    match entry {
        Entry::File { content: Content::Bytes(bytes), .. } => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{path} is {other:?}"),
    }
}

/// What is in an entry.
fn content(entry: &Entry) -> Vec<u8> {
    let Entry::File { content, .. } = entry else { return Vec::new() };
    match content {
        Content::Bytes(inside) => inside.to_vec(),
        Content::Path(path) => std::fs::read(path).unwrap(),
        Content::Inside(inside) => {
            let mut bytes = Vec::new();
            inside.open().unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        }
    }
}

/// The layers that two plans do not share, by what is in their files.
pub(crate) fn changed(one: &JavaPlan, other: &JavaPlan) -> Vec<String> {
    let files = |layer: &PlannedLayer| -> Vec<(String, Vec<u8>)> {
        layer.entries.iter().map(|(path, entry)| (path.clone(), content(entry))).collect()
    };
    assert_eq!(one.layers.len(), other.layers.len());
    let pairs = one.layers.iter().zip(&other.layers);
    pairs.filter(|(one, other)| files(one) != files(other)).map(|(one, _)| one.name.to_string()).collect()
}

/// What of a JVM's options wins over what variables say, and what does not.
pub(crate) fn on_command_line(plan: &JavaPlan) -> Vec<&str> {
    plan.options
        .iter()
        .filter(|option| option.place == Place::CommandLine)
        .map(|option| option.option.as_str())
        .collect()
}
