//! Which layer a file is in, and where in the image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barge_image::plan::{APP, Content, Entry, LayerPlan, PlannedLayer, place};

use crate::plan::PlanError;

/// Parts of a program, those that change least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Libraries that never change under their name.
    Dependencies,
    /// Libraries that may.
    Snapshots,
    /// What starts the program.
    Start,
    /// Files that are no classes.
    Resources,
    /// Classes, and what a build stamps with its time or its commit.
    Classes,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Dependencies => "dependencies",
            Self::Snapshots => "snapshot dependencies",
            Self::Start => "start",
            Self::Resources => "resources",
            Self::Classes => "classes",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Dependencies => "libraries of a released version: they change only when the build names another one",
            Self::Snapshots => {
                "libraries that change under the same version: snapshots, and modules of the project itself"
            }
            Self::Start => "the class path, the JVM's options and what else starts it",
            Self::Resources => "files that are no classes: they change more rarely",
            Self::Classes => "the project's own classes, and what each build writes anew",
        }
    }
}

/// Layers that are being filled.
#[derive(Debug)]
pub(crate) struct Layers {
    artifact: PathBuf,
    parts: BTreeMap<Part, LayerPlan>,
    /// The project's own, which stand between snapshots and what starts it.
    own: Vec<(String, LayerPlan)>,
}

impl Layers {
    /// None yet; errors name `artifact`.
    pub(crate) fn new(artifact: &Path) -> Self {
        Self { artifact: artifact.to_owned(), parts: BTreeMap::new(), own: Vec::new() }
    }

    /// What they are of.
    pub(crate) fn artifact(&self) -> &Path {
        &self.artifact
    }

    /// Puts a file below /app.
    pub(crate) fn put(&mut self, part: Part, path: &str, entry: Entry) -> Result<(), PlanError> {
        self.check(path)?;
        place(self.parts.entry(part).or_default(), format!("{APP}/{path}"), entry);
        Ok(())
    }

    /// Puts a text below /app.
    pub(crate) fn put_text(&mut self, part: Part, path: &str, text: &str, executable: bool) -> Result<(), PlanError> {
        self.put_bytes(part, path, text.as_bytes(), executable)
    }

    /// Puts bytes below /app.
    pub(crate) fn put_bytes(
        &mut self,
        part: Part,
        path: &str,
        bytes: &[u8],
        executable: bool,
    ) -> Result<(), PlanError> {
        let content = Content::Bytes(Arc::from(bytes));
        self.put(part, path, Entry::File { content, size: bytes.len() as u64, executable, stamped: false })
    }

    /// Makes a layer of the project's own, after those that were made before.
    pub(crate) fn own(&mut self, name: &str) {
        self.own.push((name.to_owned(), LayerPlan::new()));
    }

    /// Puts a file below /app, into the layer of the project's own with this number.
    pub(crate) fn put_own(&mut self, number: usize, path: &str, entry: Entry) -> Result<(), PlanError> {
        self.check(path)?;
        if let Some((_, entries)) = self.own.get_mut(number) {
            place(entries, format!("{APP}/{path}"), entry);
        }
        Ok(())
    }

    fn check(&self, path: &str) -> Result<(), PlanError> {
        if path.split('/').any(|name| name.starts_with(".wh.")) {
            return Err(PlanError::Whiteout { path: self.artifact.clone(), name: path.to_owned() });
        }
        let name = format!("{APP}/{path}");
        let all = self.parts.values().chain(self.own.iter().map(|(_, entries)| entries));
        if all.into_iter().any(|entries| entries.contains_key(&name)) {
            return Err(PlanError::Twice { path: self.artifact.clone(), name });
        }
        Ok(())
    }

    /// Those that have files, lowest first.
    pub(crate) fn finish(self) -> Vec<PlannedLayer> {
        let mut layers = Vec::new();
        let mut own = Some(self.own);
        for (part, entries) in self.parts {
            if part >= Part::Start {
                layers.extend(own.take().into_iter().flatten().filter_map(planned_own));
            }
            layers.push(PlannedLayer { name: part.name().into(), why: part.why().into(), entries });
        }
        layers.extend(own.into_iter().flatten().filter_map(planned_own));
        layers
    }
}

fn planned_own((name, entries): (String, LayerPlan)) -> Option<PlannedLayer> {
    let why = "a layer of the project's own layers.idx".into();
    (!entries.is_empty()).then(|| PlannedLayer { name: name.into(), why, entries })
}

/// Which of the libraries' layers a jar belongs to, by its name.
pub(crate) fn of_library(name: &str) -> Part {
    if is_snapshot(name) { Part::Snapshots } else { Part::Dependencies }
}

/// Whether a jar's name says that its content may change under it: `-SNAPSHOT`, or Maven's `-20240131.120000-1` of a snapshot that was
/// downloaded (Maven's repository layout).
fn is_snapshot(name: &str) -> bool {
    let digits = |text: Option<&str>, count: usize| {
        text.is_some_and(|text| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let stamp = |part: &str| {
        let mut halves = part.split('.');
        digits(halves.next(), 8) && digits(halves.next(), 6) && halves.next().is_none()
    };
    name.contains("-SNAPSHOT") || name.split('-').any(stamp)
}

/// Which layer a file among the project's own classes belongs to.
pub(crate) fn of_own_file(name: &str) -> Part {
    let last = name.rsplit('/').next().unwrap_or(name);
    // What builds put their time, their commit or a fresh number into.
    let stamped = ["META-INF/MANIFEST.MF", "META-INF/build-info.properties", "git.properties"].contains(&name)
        || name.starts_with("META-INF/maven/")
        || name.starts_with("META-INF/sbom/");
    if last.ends_with(".class") || stamped { Part::Classes } else { Part::Resources }
}

/// Whether a server tells browsers this file's time.
pub(crate) fn is_page(name: &str) -> bool {
    ["static/", "public/", "resources/", "templates/", "META-INF/resources/"]
        .iter()
        .any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_snapshots() {
        for name in ["a-1.0-SNAPSHOT.jar", "a-1.0-SNAPSHOT-tests.jar", "a-1.0-20240131.120000-17.jar"] {
            assert_eq!(of_library(name), Part::Snapshots, "{name}");
        }
        for name in ["a-1.0.jar", "snapshot-1.jar", "a-20240131.jar", "a-20240131.1200-1.jar", "a-2024.01.31.jar"] {
            assert_eq!(of_library(name), Part::Dependencies, "{name}");
        }
    }

    #[test]
    fn what_a_build_stamps_is_with_the_classes() {
        for name in
            ["a/B.class", "git.properties", "META-INF/build-info.properties", "META-INF/maven/a/b/pom.properties"]
        {
            assert_eq!(of_own_file(name), Part::Classes, "{name}");
        }
        for name in ["application.yaml", "static/a.js", "a/git.properties", "class"] {
            assert_eq!(of_own_file(name), Part::Resources, "{name}");
        }
    }
}
