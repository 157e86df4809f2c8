//! Real Java programs, built by Maven, released with a manifest of two lines.

mod boot;
mod boot_war;
mod peers;
mod reproducible;
mod war;

use std::path::Path;

use barge_load::LoadPlan;
use barge_testkit::TestPlatform;
use barge_world::JavaProject;

use crate::support::{answers, load_plan};

/// Where the greeting's version is said.
pub(crate) const GREETINGS: &str = "web/src/main/java/example/web/Greetings.java";
/// And the shop's.
pub(crate) const ORDERS: &str = "src/main/java/example/shop/Orders.java";

/// The Spring Boot application, built, in a directory of the platform's.
pub(crate) fn boot(platform: &TestPlatform) -> Option<JavaProject> {
    JavaProject::copy("java-boot", &platform.project("boot"))
}

/// The war.
pub(crate) fn war(platform: &TestPlatform) -> Option<JavaProject> {
    JavaProject::copy("java-war", &platform.project("shop"))
}

/// What a service says at a path.
fn answer(platform: &TestPlatform, service: &str, path: &str) -> String {
    let all = answers(&at(platform, service, path), 1);
    all.into_iter().next().unwrap()
}

fn at(platform: &TestPlatform, service: &str, path: &str) -> LoadPlan {
    LoadPlan { path: path.to_owned(), ..load_plan(platform, service) }
}

/// Builds and pushes; the result is how many bytes went over the wire.
fn sent(platform: &TestPlatform, project: &Path) -> u64 {
    let built = platform.barge_json(project, &["build"]);
    built["sent"].as_u64().unwrap_or_else(|| panic!("{built}"))
}
