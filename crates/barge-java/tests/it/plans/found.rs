//! Which file is the program.

use std::time::{Duration, SystemTime};

use barge_java::artifact::{find, newer_source};

use super::Project;

fn found(files: &[&str]) -> Result<Option<String>, String> {
    let project = Project::new();
    for file in files {
        if file.ends_with('/') {
            std::fs::create_dir_all(project.path().join(file)).unwrap();
        } else {
            project.file(file, b"");
        }
    }
    match find(project.path()) {
        Ok(found) => Ok(found.map(|found| found.path.strip_prefix(project.path()).unwrap().display().to_string())),
        Err(error) => Err(format!("{error}\nhint: {}", error.hint().unwrap_or_default())),
    }
}

#[test]
fn what_was_built_is_found() {
    let check =
        |files: &[&str], expected: Option<&str>| assert_eq!(found(files).unwrap().as_deref(), expected, "{files:?}");
    check(&["pom.xml", "target/a-1.jar", "target/a-1-sources.jar", "target/a-1.jar.original"], Some("target/a-1.jar"));
    check(
        &["pom.xml", "target/a-1.war", "target/a-1-classes.jar", "target/a-1/WEB-INF/web.xml"],
        Some("target/a-1.war"),
    );
    check(&["build.gradle.kts", "build/libs/a-1.jar", "build/libs/a-1-plain.jar"], Some("build/libs/a-1.jar"));
    check(
        &["pom.xml", "target/quarkus-app/quarkus-run.jar", "target/quarkus-app/lib/", "target/a-1.jar"],
        Some("target/quarkus-app"),
    );
    check(
        &[
            "build.gradle",
            "build/libs/a.jar",
            "build/install/a/bin/a",
            "build/install/a/bin/a.bat",
            "build/install/a/lib/",
        ],
        Some("build/install/a"),
    );
    check(&["target/a.jar"], Some("target/a.jar"));
    check(&["pom.xml", "dist/index.html", "target/a.war"], Some("target/a.war"));
}

#[test]
fn other_projects_are_none() {
    for files in [
        &[][..],
        &["Cargo.toml", "target/release/a", "target/debug/a"],
        &["package.json", "dist/index.html", "target/a.jar"],
        &["target/classes/A.class"],
        &["build/index.html"],
        &["target"],
    ] {
        assert_eq!(found(files), Ok(None), "{files:?}");
    }
}

#[test]
fn doubts_and_missing_builds_are_told() {
    insta::assert_snapshot!(found(&["pom.xml", "target/a.jar", "target/b.jar"]).unwrap_err(), @r"
    2 files may be the program: target/a.jar, target/b.jar
    hint: say which one in barge.yaml: `build: {path: target/a.jar}`
    ");
    insta::assert_snapshot!(found(&["pom.xml", "src/main/java/A.java", "dist/x"]).unwrap_err(), @r"
    pom.xml is there, and nothing is built: no jar or war in target
    hint: `mvn package` first; where the program is in another module, name it in barge.yaml: `build: {path: MODULE/target/FILE}`
    ");
    insta::assert_snapshot!(found(&["build.gradle", "target/a.jar"]).unwrap_err(), @r"
    build.gradle is there, and nothing is built: no jar or war in build/libs
    hint: `gradle build` first; where the program is in another module, name it in barge.yaml: `build: {path: MODULE/target/FILE}`
    ");
}

#[test]
fn sources_that_are_newer_are_seen() {
    let project = Project::new();
    project
        .file("pom.xml", b"")
        .file("src/main/java/A.java", b"")
        .file("src/test/java/T.java", b"")
        .file("target/a.jar", b"");
    let set = |path: &str, seconds: u64| {
        let file = std::fs::File::options().write(true).open(project.path().join(path)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    for (path, time) in
        [("pom.xml", 10), ("src/main/java/A.java", 10), ("src/test/java/T.java", 99), ("target/a.jar", 20)]
    {
        set(path, time);
    }
    let artifact = find(project.path()).unwrap().unwrap();
    assert_eq!(newer_source(project.path(), &artifact), None);
    set("src/main/java/A.java", 21);
    assert_eq!(newer_source(project.path(), &artifact).unwrap().to_str(), Some("src/main/java/A.java"));
}
