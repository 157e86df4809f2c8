//! What Gradle's `installDist` puts into build/install/NAME: whatever the build wants there, and a start script that says what of it is
//! started, and how. All of it stays where it is, below /app itself; only the script is not needed any more.

use std::path::{Path, PathBuf};

use crate::files::tree;
use crate::kinds::jar::jars_in;
use crate::layers::{self, Layers, Part};
use crate::options::JvmOption;
use crate::plan::{JavaPlan, Options, PlanError};
use crate::script::{Main, Said, StartScript};
use crate::start::{self, Launch, Program};

/// Whether a directory is one.
pub(crate) fn is(directory: &Path) -> bool {
    !scripts(directory).is_empty() && directory.join("lib").is_dir()
}

/// The start scripts, each of which has a twin for Windows; sorted.
fn scripts(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory.join("bin")) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let twins = paths.filter(|path| path.extension().is_some_and(|end| end == "bat"));
    let mut scripts: Vec<PathBuf> =
        twins.map(|twin| twin.with_extension("")).filter(|script| script.is_file()).collect();
    scripts.sort();
    scripts
}

/// The script that starts the program: the only one, or that of the directory's name, which the plugin gives to both.
fn script(directory: &Path) -> Result<PathBuf, PlanError> {
    let mut scripts = scripts(directory);
    let own = scripts.iter().position(|script| script.file_name() == directory.file_name());
    match (scripts.len(), own) {
        (0, _) => Err(PlanError::Unknown(directory.to_owned())),
        (1, _) => Ok(scripts.remove(0)),
        (_, Some(own)) => Ok(scripts.remove(own)),
        (_, None) => Err(PlanError::Scripts {
            path: directory.to_owned(),
            scripts: scripts.iter().map(|path| name(path)).collect(),
        }),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Plans.
pub(crate) fn plan(directory: &Path, options: &Options) -> Result<JavaPlan, PlanError> {
    let path = script(directory)?;
    let script_name = format!("bin/{}", name(&path));
    let text = std::fs::read_to_string(&path).map_err(|source| PlanError::Read { path: path.clone(), source })?;
    let script = StartScript::parse(&text, &name(&path));
    let script = script.map_err(|what| PlanError::Script { path: path.clone(), what })?;
    let mut paths =
        Paths { directory, script: &script_name, missing: Vec::new(), notes: Vec::new(), warnings: Vec::new() };
    let mut class_path = paths.found(&script.class_path)?;
    let module_path = paths.found(&script.module_path)?;
    let own = own_jar(&script);
    let asked = paths.options(script.options);
    let Paths { missing, notes, warnings, .. } = paths;
    if !missing.is_empty() {
        return Err(PlanError::NotInstalled { path, missing });
    }
    let mut layers = Layers::new(directory);
    put_all(&mut layers, directory, &script_name, own.as_deref())?;
    if start::is_spring(module_path.iter().chain(&class_path).map(String::as_str)) {
        class_path.push(start::put_spring(&mut layers, options)?);
    }
    let (what, launch) = match script.main {
        Main::Class(class) => (format!("the class {class}"), Launch::Class(class)),
        Main::Module(module) => (format!("the module {module}"), Launch::Module(module, module_path)),
    };
    let program = Program {
        kind: "Gradle application".to_owned(),
        why: format!("{script_name} names {what}"),
        class_path,
        launch,
        asked,
    };
    Ok(JavaPlan { notes, warnings, ..program.plan(layers, options)? })
}

/// The project's own jar is the first that is named, as Gradle writes it.
fn own_jar(script: &StartScript) -> Option<String> {
    let mut paths = script.module_path.iter().chain(&script.class_path);
    paths
        .find_map(|path| {
            if let Said::Known(path) = path { Some(path) } else { None }.filter(|path| path.ends_with(".jar"))
        })
        .cloned()
}

/// Puts all that is there.
fn put_all(layers: &mut Layers, directory: &Path, script: &str, own: Option<&str>) -> Result<(), PlanError> {
    let not_needed = [script.to_owned(), format!("{script}.bat")];
    for (path, entry) in tree(directory)? {
        if not_needed.contains(&path) {
            continue;
        }
        let part = match path.as_str() {
            path if Some(path) == own => Part::Classes,
            path if path.ends_with(".jar") => layers::of_library(path),
            path => layers::of_own_file(path),
        };
        layers.put(part, &path, entry)?;
    }
    Ok(())
}

/// Looks for what a script names.
struct Paths<'a> {
    directory: &'a Path,
    script: &'a str,
    missing: Vec<String>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Paths<'_> {
    /// Those that are there, in their order.
    fn found(&mut self, paths: &[Said]) -> Result<Vec<String>, PlanError> {
        let mut found = Vec::new();
        for path in paths {
            match path {
                Said::Unknown(text) => self.warnings.push(format!(
                    "{} looks for classes in {text:?} too, which is not known to be in the application's directory: it is left out",
                    self.script
                )),
                Said::Known(path) => self.add(path, &mut found)?,
            }
        }
        Ok(found)
    }

    fn add(&mut self, path: &str, found: &mut Vec<String>) -> Result<(), PlanError> {
        let script = self.script;
        if let Some(parent) = path.strip_suffix('*').filter(|parent| parent.is_empty() || parent.ends_with('/')) {
            let jars = jars_in(&self.directory.join(parent))?;
            found.extend(jars.iter().map(|jar| format!("{parent}{}", name(jar))));
            self.notes.push(format!(
                "{script} does not say in which order {path} is looked through: it is that of the names"
            ));
        } else if path.is_empty() {
            found.push(".".to_owned());
        } else if self.directory.join(path).exists() {
            found.push(path.to_owned());
        } else if path.ends_with(".jar") {
            self.missing.push(path.to_owned());
        } else {
            // Java finds nothing there either.
            self.notes.push(format!("{path} of the class path in {script} is not there, and is left out"));
        }
        Ok(())
    }

    fn options(&mut self, options: Vec<Said>) -> Vec<JvmOption> {
        let why = format!("{} says so: applicationDefaultJvmArgs of the build", self.script);
        let mut known = Vec::new();
        for option in options {
            match option {
                Said::Known(option) => known.push(JvmOption::on_command_line(option, &why)),
                Said::Unknown(text) => self.warnings.push(format!(
                    "{} gives the JVM {text}, of which only the script knows what it stands for: it is left out; \
                     `build: {{jvm: [OPTION]}}` in barge.yaml can say it",
                    self.script
                )),
            }
        }
        known
    }
}
