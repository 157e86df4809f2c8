//! What the image of a project will be, before anything is built: which files, in which layers, on which base, and what starts them.
//!
//! Java programs are planned by `barge-java`, everything else is files as they are. `build`, `deploy` and `init` all ask here.

pub(crate) mod base;
pub(crate) mod explain;
pub(crate) mod statements;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_api::EnvironmentView;
use barge_image::BuildError;
use barge_image::build::files;
use barge_image::plan::{APP, PlannedLayer};
use barge_java::{Artifact, ArtifactError, JavaPlan, JvmOption, Options, PlanError, artifact};
use barge_model::manifest::{Command, EnvValue, Manifest};

use self::base::Chosen;
use crate::failure::{Failure, Kind};
use crate::project::Project;

/// Variables that tell a JVM options.
const JVM_VARIABLES: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// What a program needs of its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing that we know of.
    Nothing,
    /// A Java runtime.
    Java,
    /// That, and Tomcat.
    Tomcat,
}

/// What an image will be.
#[derive(Debug)]
pub(crate) struct ImagePlan {
    /// What the project was taken for, such as `Spring Boot 3.4.1 jar` or `files`.
    pub(crate) kind: String,
    /// Why.
    pub(crate) why: String,
    /// The file or directory that it is made of.
    pub(crate) from: PathBuf,
    /// The base.
    pub(crate) base: Chosen,
    /// What has to be in it.
    pub(crate) needs: Needs,
    /// Its own layers, lowest first.
    pub(crate) layers: Vec<PlannedLayer>,
    /// What starts it.
    pub(crate) command: Command,
    /// Where a Java program's classes are looked for.
    pub(crate) class_path: Vec<String>,
    /// What its JVM is told.
    pub(crate) options: Vec<JvmOption>,
    /// What people should know when they look.
    pub(crate) notes: Vec<String>,
    /// What people should know in any case.
    pub(crate) warnings: Vec<String>,
}

impl ImagePlan {
    /// What the image says of itself, beside its title.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        if self.class_path.is_empty() {
            return BTreeMap::new();
        }
        [("dev.barge.kind", self.kind.clone()), ("dev.barge.class-path", self.class_path.join(":"))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }
}

/// Plans the image of a project for an environment.
pub(crate) fn plan(project: &Project, environment: Option<&EnvironmentView>) -> Result<ImagePlan, Failure> {
    match java_program(project)? {
        Some(artifact) if !wants_files(project, &artifact.path) => of_java(project, &artifact, environment),
        Some(Artifact { path }) if names_alone(project, &path) => of_files(project, path, environment),
        _ => of_files(project, project.build_path(), environment),
    }
}

/// The Java program of a project, where it is one: what `build.path` names, else what Maven or Gradle built.
fn java_program(project: &Project) -> Result<Option<Artifact>, Failure> {
    match &project.manifest.build.path {
        Some(path) => {
            let path = project.directory.join(path);
            Ok(barge_java::plan::is_program(&path).then_some(Artifact { path }))
        }
        None => match artifact::find(&project.directory) {
            // What starts the service is said, and may be none of what is in doubt.
            Err(_) if project.manifest.command.is_some() => Ok(None),
            found => found.map_err(|error| not_found(project, &error)),
        },
    }
}

/// Whether a command in barge.yaml counts on files as they were built: it names the jar, or starts something in the directory.
fn wants_files(project: &Project, artifact: &Path) -> bool {
    let Some(Command(words)) = &project.manifest.command else { return false };
    let name = artifact.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if artifact.is_dir() {
        !words.iter().any(|word| word.contains("barge/"))
    } else {
        words.iter().any(|word| word.contains(&name))
    }
}

/// Whether the command counts on the file itself in /app: it names the jar and no directory.
fn names_alone(project: &Project, artifact: &Path) -> bool {
    let Some(Command(words)) = &project.manifest.command else { return false };
    artifact.is_file() && words.iter().any(|word| artifact.file_name().is_some_and(|name| name == word.as_str()))
}

fn not_found(project: &Project, error: &ArtifactError) -> Failure {
    let doing = format!("look for the program of {}", project.manifest.name);
    Failure::from_error(Kind::Usage, error).context(&doing).hint_if(error.hint())
}

fn of_java(
    project: &Project,
    artifact: &Artifact,
    environment: Option<&EnvironmentView>,
) -> Result<ImagePlan, Failure> {
    let plan = barge_java::plan(artifact, &options(&project.manifest)).map_err(|error| not_planned(project, &error))?;
    let command = project.manifest.command.clone();
    if let Some(command) = &command {
        check_program(command, &plan)?;
    }
    let mut warnings = plan.warnings;
    warnings.extend(artifact::newer_source(&project.directory, artifact).map(|source| {
        let built = below(&artifact.path, &project.directory);
        format!(
            "{} is newer than {}: build the project again if it should be in the image",
            source.display(),
            built.display()
        )
    }));
    let needs = if plan.needs_tomcat { Needs::Tomcat } else { Needs::Java };
    Ok(ImagePlan {
        kind: plan.kind,
        why: plan.why,
        from: plan.artifact,
        base: Chosen::of(project, needs, environment)?,
        needs,
        layers: plan.layers,
        command: command.unwrap_or(Command(plan.command)),
        class_path: plan.class_path,
        options: plan.options,
        notes: plan.notes,
        warnings,
    })
}

fn not_planned(project: &Project, error: &PlanError) -> Failure {
    let doing = format!("plan the image of {}", project.manifest.name);
    Failure::from_error(Kind::Usage, error).context(&doing).hint_if(error.hint())
}

/// What barge.yaml says that concerns a JVM, in whatever environment.
fn options(manifest: &Manifest) -> Options {
    let overlays = || manifest.environments.values();
    let variables = manifest.env.iter().chain(overlays().flat_map(|overlay| overlay.env.iter()));
    let said = variables.filter(|(name, _)| JVM_VARIABLES.contains(&name.as_str()));
    let said = said.filter_map(|(_, value)| if let EnvValue::Text(text) = value { Some(text.clone()) } else { None });
    let limits = std::iter::once(&manifest.resources).chain(overlays().map(|overlay| &overlay.resources));
    Options {
        context_path: manifest.build.context_path.clone().unwrap_or_default(),
        jvm: manifest.build.jvm.clone(),
        limited_memory: limits.into_iter().any(|limits| limits.memory.is_some()),
        grace: Duration::from_millis(manifest.drain.grace.0),
        said: said.collect(),
    }
}

/// A command such as `./run.sh` must name a file of the image.
fn check_program(command: &Command, plan: &JavaPlan) -> Result<(), Failure> {
    let Some(path) = command.0.first().and_then(|program| program.strip_prefix("./")) else { return Ok(()) };
    let inside = format!("{APP}/{path}");
    if plan.layers.iter().any(|layer| layer.entries.contains_key(&inside)) {
        return Ok(());
    }
    let what = format!("the command starts ./{path}, which is not in the image of {}", plan.artifact.display());
    Err(Failure::new(Kind::Usage, what)
        .hint("`barge build --explain` shows what is; `build: {path: DIRECTORY}` takes other files"))
}

fn of_files(project: &Project, path: PathBuf, environment: Option<&EnvironmentView>) -> Result<ImagePlan, Failure> {
    let command = project.command()?;
    let layer = files(&path, project.left_out()).map_err(|error| unbuilt(project, &error))?;
    let why = match (&project.manifest.build.path, project.is_built_itself()) {
        (Some(_), _) => "build.path in barge.yaml names them",
        (None, true) => {
            "nothing else is found: no jar or war, no dist/, build/, out/, public/ or bin/, no program of this name"
        }
        (None, false) => "they are where builds leave their results",
    };
    Ok(ImagePlan {
        kind: "files".to_owned(),
        why: why.to_owned(),
        from: path,
        base: Chosen::of(project, Needs::Nothing, environment)?,
        needs: Needs::Nothing,
        layers: vec![layer],
        command,
        class_path: Vec::new(),
        options: Vec::new(),
        notes: Vec::new(),
        warnings: Vec::new(),
    })
}

/// The failure of a build.
pub(crate) fn unbuilt(project: &Project, error: &BuildError) -> Failure {
    let kind = if matches!(error, BuildError::Scan(_)) { Kind::Usage } else { Kind::General };
    Failure::from_error(kind, error).context(&format!("build the image of {}", project.manifest.name))
}

/// A path as seen from a directory.
pub(crate) fn below(path: &Path, directory: &Path) -> PathBuf {
    path.strip_prefix(directory).unwrap_or(path).to_owned()
}
