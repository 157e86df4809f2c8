//! From an edited source to a pushed image, as people have it: with Maven, which compiles, and then either tool.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use barge_world::JavaProject;

use crate::contenders::{Barge, Contender};
use crate::tables::{median, milliseconds};
use crate::{Stage, run};

/// The newest one.
const PLUGIN: &str = "com.google.cloud.tools:jib-maven-plugin:3.5.1:build";
const SOURCE: &str = "web/src/main/java/example/web/Greetings.java";

/// Measures, and prints the table.
pub(crate) fn measure(stage: &Stage) {
    let project = JavaProject::copy("java-boot", &stage.platform.project("boot-by-maven")).unwrap();
    // The library is no program.
    project.edit("words/pom.xml", "</project>", "  <properties><jib.skip>true</jib.skip></properties>\n</project>");
    let mut barge = Barge::new(stage);
    barge.forget();
    let directory = project.path("");
    let web = project.path("web");
    barge.write_manifest(&web, "by-barge");
    let mut version = "one".to_owned();
    let mut edit = |next: String| {
        project.edit(SOURCE, &format!("VERSION = \"{version}\""), &format!("VERSION = \"{next}\""));
        version = next;
    };
    let (mut of_barge, mut of_jib) = (Vec::new(), Vec::new());
    // Once more than is measured, to fill the caches.
    for round in 0..=stage.rounds {
        edit(format!("{round} of barge"));
        of_barge.push(timed(&mut [maven(&directory, &["package"]), barge.command(&web)]));
        edit(format!("{round} of jib"));
        of_jib.push(timed(&mut [jib(stage, &directory)]));
    }
    let row = |what: &str, times: &[Duration]| println!("| {what} | {} |", milliseconds(median(times[1..].to_vec())));
    println!("| from one edited source to the pushed image; medians of {} | |\n| --- | --- |", stage.rounds);
    row("`mvn package`, then `barge build`", &of_barge);
    row("`mvn compile jib:build`", &of_jib);
}

fn timed(commands: &mut [Command]) -> Duration {
    let begin = Instant::now();
    for command in commands {
        run(command);
    }
    begin.elapsed()
}

fn maven(directory: &Path, words: &[&str]) -> Command {
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B"]).args(words).current_dir(directory);
    maven
}

fn jib(stage: &Stage, directory: &Path) -> Command {
    let mut maven = maven(directory, &["compile", PLUGIN]);
    maven.args(["-DsendCredentialsOverHttp=true", "-Djib.allowInsecureRegistries=true"]);
    maven.arg(format!("-Djib.from.image={}", stage.base)).arg(format!("-Djib.to.image={}/by-jib", stage.registry));
    for side in ["from", "to"] {
        maven.arg(format!("-Djib.{side}.auth.username=barge"));
        maven.arg(format!("-Djib.{side}.auth.password={}", stage.platform.token));
    }
    let cache = stage.platform.project("jib-of-maven");
    for (property, name) in [("baseImageCache", "base"), ("applicationCache", "application")] {
        maven.arg(format!("-Djib.{property}={}", cache.join(name).display()));
    }
    maven
}
