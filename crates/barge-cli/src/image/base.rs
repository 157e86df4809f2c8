//! What a project's image is built on: the base that is named, by the digest that `barge.lock` pins it to.

use barge_image::base::lock::{self, Change, Lock, pin};
use barge_image::base::{Means, Place};
use barge_image::{BuildError, Reference};

use crate::commands::build::{Event, Sink};
use crate::failure::{Failure, Kind};
use crate::project::Project;

/// Whether a base has to be asked for at a registry.
pub(crate) fn is_far(name: &str) -> bool {
    matches!(name.parse(), Ok(Place::Registry(_)))
}

/// The base to build on. A tag is looked up once, and then again when `update` says so; what it means is written to the lock file.
pub(crate) async fn pinned(
    project: &Project,
    name: &str,
    update: bool,
    means: Means<'_>,
    sink: Sink<'_>,
) -> Result<String, Failure> {
    let Ok(Place::Registry(reference)) = name.parse() else { return Ok(name.to_owned()) };
    let path = project.directory.join(lock::FILE);
    let locked = Lock::read(&path).map_err(|error| {
        Failure::from_error(Kind::Usage, &error)
            .hint(format!("`barge build --update` works once the file is removed: rm {}", path.display()))
    })?;
    let pinned = pin(&reference, locked.as_ref(), update, means).await.map_err(|source| {
        let error = BuildError::Base { name: name.to_owned(), source };
        super::unbuilt(project, &error)
    })?;
    if let Some((lock, change)) = &pinned.change {
        match lock.write(&path) {
            Ok(()) => sink(Event::Locked(told(&reference, lock, change))),
            Err(error) => {
                sink(Event::Warning(format!("{}; the next build asks again what {reference} means", chain(&error))))
            }
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

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
