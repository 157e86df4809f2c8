//! What a project's image is built on: the base that barge.yaml names, by the digest that `barge.lock` pins it to, else what the environment
//! has for such programs. That one is the platform's choice, and so is whether it is pinned there.

use barge_api::EnvironmentView;
use barge_image::base::lock::{self, Change, Lock, pin};
use barge_image::base::{Means, Place};
use barge_image::{BuildError, Reference};

use crate::commands::build::{Event, Sink};
use crate::failure::{Failure, Kind};
use crate::image::Needs;
use crate::project::{Project, SCRATCH};

/// What an environment is called that runs instances on the machine of the platform, whose own Java and Tomcat they use.
const LOCAL: &str = "local";

/// A base, and who has chosen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// As named.
    pub(crate) name: String,
    /// Who.
    pub(crate) by: By,
}

/// Who has chosen a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// barge.yaml.
    Project,
    /// The environment, for all such programs.
    Environment,
    /// Nobody, so that it is an empty one.
    Nobody,
}

impl Chosen {
    /// The base of a project for an environment; without one, nothing is known of its bases.
    pub(crate) fn of(project: &Project, needs: Needs, environment: Option<&EnvironmentView>) -> Result<Self, Failure> {
        if let Some(name) = project.base() {
            return Ok(Self { name, by: By::Project });
        }
        let bases = environment.map(|environment| &environment.bases);
        let there = bases.and_then(|bases| match needs {
            Needs::Nothing => bases.files.clone(),
            Needs::Java => bases.java.clone(),
            Needs::Tomcat => bases.tomcat.clone(),
        });
        match (there, environment) {
            (Some(name), _) => Ok(Self { name, by: By::Environment }),
            (None, Some(environment)) if environment.engine != LOCAL && needs != Needs::Nothing => {
                Err(nothing_to_run_it(project, needs, environment))
            }
            (None, _) => Ok(Self { name: SCRATCH.to_owned(), by: By::Nobody }),
        }
    }
}

fn nothing_to_run_it(project: &Project, needs: Needs, environment: &EnvironmentView) -> Failure {
    let (what, key) = if needs == Needs::Tomcat { ("Tomcat", "tomcat") } else { ("a Java runtime", "java") };
    let (service, environment) = (&project.manifest.name, &environment.name);
    let text = format!("{service} needs {what}, and {environment} has no base image that brings it");
    Failure::new(Kind::Usage, text).hint(format!(
        "name one in barge.yaml, `build: {{base: registry.example/{key}:1}}`, or for all projects in the server's configuration: \
         docs/environments.md, `bases`"
    ))
}

/// Whether a base has to be asked for at a registry.
pub(crate) fn is_far(name: &str) -> bool {
    matches!(name.parse(), Ok(Place::Registry(_)))
}

/// The base to build on. A tag is looked up once, and then again when `update` says so; what it means is written to the lock file.
pub(crate) async fn pinned(
    project: &Project,
    Chosen { name, by }: &Chosen,
    update: bool,
    means: Means<'_>,
    sink: Sink<'_>,
) -> Result<String, Failure> {
    let Ok(Place::Registry(reference)) = name.parse() else { return Ok(name.clone()) };
    let failed = |source| {
        let error = BuildError::Base { name: name.clone(), source };
        super::unbuilt(project, &error)
    };
    if *by != By::Project {
        return Ok(pin(&reference, None, false, means).await.map_err(failed)?.reference.to_string());
    }
    let path = project.directory.join(lock::FILE);
    let locked = Lock::read(&path).map_err(|error| {
        Failure::from_error(Kind::Usage, &error)
            .hint(format!("`barge build --update` works once the file is removed: rm {}", path.display()))
    })?;
    let pinned = pin(&reference, locked.as_ref(), update, means).await.map_err(failed)?;
    if let Some((lock, change)) = &pinned.change {
        match lock.write(&path) {
            Ok(()) => sink(Event::Locked(told(&reference, lock, change))),
            Err(error) => sink(Event::Warning(format!(
                "{}; the next build asks again what {reference} means",
                barge_runtime::chain(&error)
            ))),
        }
    }
    Ok(pinned.reference.to_string())
}

fn told(reference: &Reference, lock: &Lock, change: &Change) -> String {
    let now = lock.digest.short();
    let file = lock::FILE;
    match change {
        Change::First => format!("{file} pins {reference} to {now}"),
        Change::Moved { from } => format!("{file} moves {reference} from {} to {now}", from.short()),
        Change::Renamed { from } => format!("{file} pins {reference} to {now}; it was for {from} before"),
    }
}
