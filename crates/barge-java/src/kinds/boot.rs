//! A Spring Boot jar or executable war: unpacked, and its main class started without Spring Boot's launcher.
//!
//! Classes and resources stay in one directory, as the application knows them: some frameworks look for classes beside a resource. What the
//! launcher would do is done here once: the order of the class path (Spring Boot's reference, "The Executable Jar Format").

use crate::files::{File, Files};
use crate::index::{self, IndexedLayer};
use crate::layers::{self, Layers, Part};
use crate::manifest::{self, Attributes};
use crate::plan::{JavaPlan, Options, PlanError};
use crate::start::{self, Launch, Program};

/// Packages of Spring Boot's launchers, since 2.3 and since 3.2.
const LAUNCHERS: [&str; 2] = ["org.springframework.boot.loader.launch.", "org.springframework.boot.loader."];

/// Names of layers that Spring Boot's plugins make by themselves; with these alone, classes and resources can be told apart.
const DEFAULT_LAYERS: [&str; 4] = ["dependencies", "spring-boot-loader", "snapshot-dependencies", "application"];

/// The launcher that a manifest names.
fn launcher(attributes: &Attributes) -> Option<&str> {
    let main = attributes.get("Main-Class")?;
    let name = LAUNCHERS.iter().find_map(|package| main.strip_prefix(package))?;
    ["JarLauncher", "WarLauncher", "PropertiesLauncher"].contains(&name).then_some(name)
}

/// Whether a launcher of Spring Boot starts it.
pub(crate) fn is(attributes: &Attributes) -> bool {
    launcher(attributes).is_some()
}

/// Where things are in the archive, and in the image.
struct Shape {
    /// The project's classes, in the archive.
    classes: String,
    /// Libraries, in the archive; those of the second only serve a war that is started by itself.
    libraries: Vec<String>,
    /// Before a path in the image; a war's pages are found beside WEB-INF, so it keeps its shape.
    war: bool,
}

/// What a file of the archive is in the image.
enum Role<'a> {
    Library(&'a str),
    Own(&'a str),
    Page,
    /// The launcher, and indexes that nobody reads any more.
    Unneeded,
}

impl Shape {
    fn of(files: &Files, attributes: &Attributes, launcher: &str) -> Self {
        let war = launcher == "WarLauncher" || files.has_below("WEB-INF/classes/") || files.has_below("WEB-INF/lib/");
        let root = if war { "WEB-INF" } else { "BOOT-INF" };
        let directory = |name: &str, default: String| {
            let path = attributes.get(name).map_or(default, str::to_owned);
            if path.ends_with('/') { path } else { format!("{path}/") }
        };
        let classes = directory("Spring-Boot-Classes", format!("{root}/classes/"));
        let mut libraries = vec![directory("Spring-Boot-Lib", format!("{root}/lib/"))];
        if war {
            libraries.push(format!("{root}/lib-provided/"));
        }
        Self { classes, libraries, war }
    }

    fn role<'a>(&self, name: &'a str) -> Role<'a> {
        if let Some(own) = name.strip_prefix(&self.classes) {
            return Role::Own(own);
        }
        if let Some(library) = self.libraries.iter().find_map(|directory| name.strip_prefix(directory.as_str())) {
            return Role::Library(library);
        }
        let index = name.ends_with("/layers.idx") || name.ends_with("/classpath.idx");
        if name.starts_with("org/springframework/boot/loader/") || (index && !name.starts_with("META-INF/")) {
            return Role::Unneeded;
        }
        // The launcher's class path begins with the archive itself, so what lies there is found as the project's own is.
        if self.war { Role::Page } else { Role::Own(name) }
    }

    /// Where a file goes. Of two with one name the launcher's parent class loader would find the archive's own.
    fn target(&self, files: &Files, name: &str) -> Option<String> {
        let hidden = |own: &str| !self.war && name.starts_with(&self.classes) && files.has(own);
        match self.role(name) {
            Role::Unneeded => None,
            Role::Own(own) if hidden(own) => None,
            _ if self.war => Some(format!("war/{name}")),
            Role::Library(library) => Some(format!("lib/{library}")),
            Role::Own(own) => Some(format!("classes/{own}")),
            Role::Page => None,
        }
    }
}

/// Plans.
pub(crate) fn plan(files: &Files, attributes: &Attributes, options: &Options) -> Result<JavaPlan, PlanError> {
    let launcher = launcher(attributes).unwrap_or_default();
    let main = attributes
        .get("Start-Class")
        .ok_or_else(|| PlanError::NoStartClass(files.root().to_owned(), launcher.to_owned()))?;
    let shape = Shape::of(files, attributes, launcher);
    let mut layers = Layers::new(files.root());
    let indexed = indexed_layers(files, attributes, &shape)?;
    match &indexed {
        Some(own) if !has_default_names(own) => put_own(&mut layers, files, &shape, own)?,
        _ => put_parts(&mut layers, files, &shape, indexed.as_deref().unwrap_or_default())?,
    }
    let mut class_path = class_path(files, attributes, &shape)?;
    class_path.push(start::put_spring(&mut layers, options)?);
    let version = attributes.get("Spring-Boot-Version").map(|version| format!("{version} ")).unwrap_or_default();
    let program = Program {
        kind: format!("Spring Boot {version}{}", if shape.war { "war" } else { "jar" }),
        why: format!("its manifest names the launcher {launcher} and the class {main}"),
        class_path,
        launch: Launch::Class(main.to_owned()),
        asked: start::of_manifest(attributes),
    };
    let warnings = warnings(files, attributes, launcher, &shape);
    Ok(JavaPlan { notes: notes(launcher), warnings, ..program.plan(layers, options)? })
}

/// The project's `layers.idx`.
fn indexed_layers(
    files: &Files,
    attributes: &Attributes,
    shape: &Shape,
) -> Result<Option<Vec<IndexedLayer>>, PlanError> {
    let path = index_path(attributes, "Spring-Boot-Layers-Index", "layers.idx", shape);
    let Some(text) = files.text(&path)? else { return Ok(None) };
    let layers = index::layers(&text);
    layers.map(Some).ok_or_else(|| PlanError::Index { path: files.root().to_owned(), index: path })
}

fn index_path(attributes: &Attributes, attribute: &str, default: &str, shape: &Shape) -> String {
    let root = if shape.war { "WEB-INF" } else { "BOOT-INF" };
    attributes.get(attribute).map_or_else(|| format!("{root}/{default}"), str::to_owned)
}

fn has_default_names(layers: &[IndexedLayer]) -> bool {
    layers.iter().all(|layer| DEFAULT_LAYERS.contains(&layer.name.as_str()))
}

/// The project's own layers, as they are and in their order.
fn put_own(layers: &mut Layers, files: &Files, shape: &Shape, own: &[IndexedLayer]) -> Result<(), PlanError> {
    for layer in own {
        layers.own(&layer.name);
    }
    for file in files.iter() {
        let Some(target) = shape.target(files, &file.name) else { continue };
        let number = index::layer_of(own, &file.name).unwrap_or(own.len() - 1);
        layers.put_own(number, &target, files.entry(file, is_page(shape, file))?)?;
    }
    Ok(())
}

/// Our layers. Libraries that the index has among the application are modules of the project, which change as snapshots do.
fn put_parts(layers: &mut Layers, files: &Files, shape: &Shape, indexed: &[IndexedLayer]) -> Result<(), PlanError> {
    for file in files.iter() {
        let Some(target) = shape.target(files, &file.name) else { continue };
        let part = match shape.role(&file.name) {
            Role::Library(library) => match index::layer_of(indexed, &file.name) {
                Some(number) if indexed[number].name == DEFAULT_LAYERS[0] => Part::Dependencies,
                Some(_) => Part::Snapshots,
                None => layers::of_library(library),
            },
            Role::Own(own) => layers::of_own_file(own),
            Role::Page | Role::Unneeded if file.name == manifest::PATH => Part::Classes,
            Role::Page | Role::Unneeded => layers::of_own_file(&file.name),
        };
        layers.put(part, &target, files.entry(file, is_page(shape, file))?)?;
    }
    Ok(())
}

fn is_page(shape: &Shape, file: &File) -> bool {
    match shape.role(&file.name) {
        Role::Own(own) => layers::is_page(own),
        Role::Page => !file.name.starts_with("META-INF/") && !file.name.starts_with("WEB-INF/"),
        Role::Library(_) | Role::Unneeded => false,
    }
}

/// Classes first, then libraries in the order of `classpath.idx`, then those that it does not name, as they lie in the archive.
fn class_path(files: &Files, attributes: &Attributes, shape: &Shape) -> Result<Vec<String>, PlanError> {
    let path = index_path(attributes, "Spring-Boot-Classpath-Index", "classpath.idx", shape);
    let indexed = match files.text(&path)? {
        Some(text) => {
            let indexed = index::class_path(&text);
            indexed.ok_or_else(|| PlanError::Index { path: files.root().to_owned(), index: path })?
        }
        None => Vec::new(),
    };
    let full = |name: String| if name.contains('/') { name } else { format!("{}{name}", shape.libraries[0]) };
    let mut names: Vec<String> = indexed.into_iter().map(full).filter(|name| files.has(name)).collect();
    let is_library = |file: &&File| matches!(shape.role(&file.name), Role::Library(_)) && file.name.ends_with(".jar");
    let known: std::collections::HashSet<String> = names.iter().cloned().collect();
    names.extend(files.iter().filter(is_library).map(|file| file.name.clone()).filter(|name| !known.contains(name)));
    let classes = if shape.war { format!("war/{}", shape.classes.trim_end_matches('/')) } else { "classes".to_owned() };
    Ok(std::iter::once(classes).chain(names.iter().filter_map(|name| shape.target(files, name))).collect())
}

fn warnings(files: &Files, attributes: &Attributes, launcher: &str, shape: &Shape) -> Vec<String> {
    let mut warnings = start::unused(attributes);
    let properties = format!("{}loader.properties", shape.classes);
    let said = attributes.get("Loader-Path").is_some() || files.has(&properties) || files.has("loader.properties");
    if launcher == "PropertiesLauncher" && said {
        warnings.push(
            "what Loader-Path or loader.properties say (loader.path, loader.main) has no effect: PropertiesLauncher is not used; \
             `command` in barge.yaml can start the program in another way"
                .to_owned(),
        );
    }
    warnings
}

fn notes(launcher: &str) -> Vec<String> {
    let note = "PropertiesLauncher is not used: LOADER_PATH and loader.path have no effect";
    (launcher == "PropertiesLauncher").then(|| note.to_owned()).into_iter().collect()
}
