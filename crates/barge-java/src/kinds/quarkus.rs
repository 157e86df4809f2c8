//! Quarkus's fast-jar: a directory whose shape its runner relies on, so it stays as it is, below /app itself.

use std::path::Path;

use crate::files::{Files, tree};
use crate::layers::{self, Layers, Part};
use crate::plan::{JavaPlan, Options, PlanError};
use crate::start::{Launch, Program};

/// The jar that starts the rest.
const RUNNER: &str = "quarkus-run.jar";

/// The name of the setting for requests in flight at the end.
const SHUTDOWN: &str = "quarkus.shutdown.timeout";

/// Whether a directory is one.
pub(crate) fn is(directory: &Path) -> bool {
    directory.join(RUNNER).is_file() && directory.join("lib").is_dir()
}

/// Plans.
pub(crate) fn plan(directory: &Path, options: &Options) -> Result<JavaPlan, PlanError> {
    let mut layers = Layers::new(directory);
    let mut class_path = vec![RUNNER.to_owned()];
    let mut says_shutdown = false;
    for (path, entry) in tree(directory)? {
        let part = if path.starts_with("lib/") { layers::of_library(&path) } else { Part::Classes };
        if path.starts_with("app/") && path.ends_with(".jar") {
            let jar = Files::open_whole(&directory.join(&path))?;
            let properties = jar.text("application.properties")?.unwrap_or_default();
            says_shutdown |= properties.lines().any(|line| line.trim_start().starts_with(SHUTDOWN));
        }
        let is_run = ["app/", "lib/boot/", "lib/main/"].iter().any(|start| path.starts_with(start));
        class_path.extend((is_run && path.ends_with(".jar")).then(|| path.clone()));
        layers.put(part, &path, entry)?;
    }
    layers.put_text(Part::Start, "config/application.properties", &settings(options, says_shutdown), false)?;
    let program = Program {
        kind: "Quarkus application".to_owned(),
        why: format!("it has {RUNNER} and lib/"),
        class_path,
        launch: Launch::Jar(RUNNER),
        asked: Vec::new(),
    };
    program.plan(layers, options)
}

/// Quarkus reads config/application.properties in its working directory: above the application's own, below variables such as
/// QUARKUS_HTTP_PORT (Quarkus, "Configuration Reference", sources and their ordinals).
fn settings(options: &Options, says_shutdown: bool) -> String {
    let mut text = "quarkus.http.host=${HOST:0.0.0.0}\nquarkus.http.port=${PORT:8080}\n".to_owned();
    if !says_shutdown {
        let wait = options.grace * 4 / 5;
        text.push_str(&format!("{SHUTDOWN}=PT{}.{:03}S\n", wait.as_secs(), wait.subsec_millis()));
    }
    text
}
