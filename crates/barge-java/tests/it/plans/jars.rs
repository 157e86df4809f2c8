//! Jars with a main class.

use std::os::unix::fs::symlink;

use super::{Project, changed, on_command_line, told};

const MAIN: &str = "Main-Class: example.Shop\n";

#[test]
fn a_class_path_is_kept_in_its_order() {
    let project = Project::new();
    let manifest = format!(
        "{MAIN}Class-Path: lib/z-1.jar lib/b%20c.jar sibling.jar lib/other-1-SNAPSHOT.jar conf/ . missing/ lib/z-1.jar\n"
    );
    project.archive(
        "target/shop.jar",
        &[
            ("META-INF/MANIFEST.MF", &manifest),
            ("example/Shop.class", ""),
            ("messages.properties", ""),
            ("static/a.css", ""),
        ],
    );
    for jar in ["lib/z-1.jar", "lib/b c.jar", "sibling.jar", "lib/other-1-SNAPSHOT.jar", "lib/unused.jar"] {
        project.file(&format!("target/{jar}"), b"jar");
    }
    project.file("target/conf/shop.properties", b"");
    insta::assert_snapshot!(told(&project.plan("target/shop.jar")));
}

#[test]
fn libraries_of_one_name_are_all_kept() {
    let project = Project::new();
    let manifest = format!("{MAIN}Class-Path: one/a.jar two/a.jar ../a.jar\n");
    project.archive("target/shop.jar", &[("META-INF/MANIFEST.MF", &manifest)]);
    for jar in ["target/one/a.jar", "target/two/a.jar"] {
        project.file(jar, jar.as_bytes());
    }
    project.file("a.jar", b"above");
    assert_eq!(project.plan("target/shop.jar").class_path, ["classes", "lib/a.jar", "lib/2/a.jar", "lib/3/a.jar"]);
}

#[test]
fn only_jars_are_taken_and_a_directory_may_hold_one_that_is_named_too() {
    for order in ["lib/ lib/a.jar", "lib/a.jar lib/"] {
        let project = Project::new();
        let manifest = format!("{MAIN}Class-Path: {order} ../id_rsa nothing/\n");
        project.archive("target/shop.jar", &[("META-INF/MANIFEST.MF", &manifest)]);
        project.file("target/lib/a.jar", b"jar").file("id_rsa", b"secret");
        std::fs::create_dir(project.path().join("target/nothing")).unwrap();
        let plan = project.plan("target/shop.jar");
        let expected: Vec<&str> = order.split(' ').map(|entry| entry.trim_end_matches('/')).collect();
        assert_eq!(plan.class_path[1..], expected, "{order}");
        assert!(plan.notes.iter().any(|note| note.contains("../id_rsa")), "{:?}", plan.notes);
        assert!(!told(&plan).replace(&plan.notes.concat(), "").contains("lib/id_rsa"));
    }
}

#[test]
fn links_in_directories_of_a_class_path_stay_links_and_lead_nowhere_else() {
    let project = Project::new();
    let manifest = format!("{MAIN}Class-Path: conf/ outside/\n");
    project.archive("target/shop.jar", &[("META-INF/MANIFEST.MF", &manifest)]);
    project.file("target/conf/shop-live.properties", b"").file("secrets/password", b"");
    let at = |path: &str| project.path().join("target").join(path);
    symlink("shop-live.properties", at("conf/shop.properties")).unwrap();
    symlink("../secrets", at("outside")).unwrap();
    let plan = project.plan("target/shop.jar");
    assert!(told(&plan).contains("app/conf/shop.properties -> shop-live.properties\n"), "{}", told(&plan));
    assert_eq!(plan.class_path, ["classes", "conf"]);
    assert!(plan.warnings[0].contains("\"outside/\""), "{:?}", plan.warnings);
    symlink("../../secrets/password", at("conf/password")).unwrap();
    let error = project.error("target/shop.jar");
    assert!(error.contains("conf/password is a link to ../../secrets/password, which lies outside"), "{error}");
}

#[test]
fn jars_that_are_named_and_not_there_are_told() {
    let project = Project::new();
    let manifest = format!("{MAIN}Class-Path: lib/a.jar lib/b.jar\n");
    project.archive("target/shop.jar", &[("META-INF/MANIFEST.MF", &manifest)]).file("target/lib/a.jar", b"");
    insta::assert_snapshot!(project.error("target/shop.jar"), @r"
    target/shop.jar: its manifest's Class-Path names lib/b.jar, which is not there
    hint: have the build put them there (maven-dependency-plugin's `copy-dependencies` with outputDirectory), or make a jar with everything in it
    ");
    for entry in ["/etc/a.jar", "file:a.jar", "a%zz.jar"] {
        let manifest = format!("{MAIN}Class-Path: {entry}\n");
        project.archive("target/shop.jar", &[("META-INF/MANIFEST.MF", &manifest)]);
        assert!(project.error("target/shop.jar").contains("not a path relative to the jar"), "{entry}");
    }
}

#[test]
fn libraries_beside_the_jar_are_found() {
    for directory in ["lib", "libs", "dependency"] {
        let project = Project::new();
        project.archive("target/shop.jar", &[("META-INF/MANIFEST.MF", MAIN), ("example/Shop.class", "")]);
        project.file(&format!("target/{directory}/b.jar"), b"").file(&format!("target/{directory}/a.jar"), b"");
        let plan = project.plan("target/shop.jar");
        assert_eq!(plan.class_path, ["classes", "lib/a.jar", "lib/b.jar"]);
        assert_eq!(plan.kind, "jar with libraries");
    }
}

#[test]
fn spring_boot_among_the_libraries_gets_its_settings() {
    let project = Project::new();
    project.archive("target/shop.jar", &[("META-INF/MANIFEST.MF", MAIN)]);
    project.file("target/lib/spring-boot-3.4.1.jar", b"");
    assert_eq!(project.plan("target/shop.jar").class_path.last().unwrap(), "barge/spring");
    let other = Project::new();
    other.archive("target/shop.jar", &[("META-INF/MANIFEST.MF", MAIN)]).file("target/lib/spring-boot-admin.jar", b"");
    assert_eq!(other.plan("target/shop.jar").class_path.last().unwrap(), "lib/spring-boot-admin.jar");
}

#[test]
fn a_jar_with_everything_stays_one_file() {
    let project = Project::new();
    project.archive(
        "target/shop.jar",
        &[("META-INF/MANIFEST.MF", MAIN), ("example/Shop.class", ""), ("other/Library.class", "")],
    );
    insta::assert_snapshot!(told(&project.plan("target/shop.jar")));
}

#[test]
fn jars_that_mean_something_else_unpacked_stay_whole() {
    let signed = [("META-INF/MANIFEST.MF", MAIN), ("META-INF/KEY.SF", ""), ("a/B.class", "")];
    let versions =
        [("META-INF/MANIFEST.MF", "Main-Class: a.B\nMulti-Release: true\n"), ("a/B.class", ""), ("a/C.class", "")];
    for members in [signed, versions] {
        let project = Project::new();
        project.archive("target/shop.jar", &members).file("target/lib/a.jar", b"");
        assert_eq!(project.plan("target/shop.jar").class_path, ["shop.jar", "lib/a.jar"]);
    }
}

#[test]
fn classes_for_several_versions_of_java_that_somebody_unpacked_are_warned_of() {
    let project = Project::new();
    project.file("app/META-INF/MANIFEST.MF", b"Main-Class: a.B\nMulti-Release: true\n").file("app/a/B.class", b"");
    let plan = project.plan("app");
    assert_eq!(plan.class_path, ["classes"]);
    assert!(plan.warnings[0].contains("Multi-Release"), "{:?}", plan.warnings);
}

#[test]
fn a_changed_class_changes_one_layer() {
    let project = Project::new();
    for (directory, class) in [("one", "class"), ("two", "other")] {
        project.archive(
            &format!("{directory}/shop.jar"),
            &[("META-INF/MANIFEST.MF", MAIN), ("example/Shop.class", class), ("a.txt", "")],
        );
        project.file(&format!("{directory}/lib/a.jar"), b"library");
    }
    assert_eq!(changed(&project.plan("one/shop.jar"), &project.plan("two/shop.jar")), ["classes"]);
}

#[test]
fn libraries_are_no_programs() {
    let project = Project::new();
    project.archive("target/shop.jar", &[("example/Shop.class", "")]);
    insta::assert_snapshot!(project.error("target/shop.jar"), @r"
    target/shop.jar is a library: its manifest names no Main-Class
    hint: set the main class where the jar is made (maven-jar-plugin's manifest, Gradle's `jar`, spring-boot-maven-plugin's `repackage`), or name the program in barge.yaml: `build: {path: FILE}`
    ");
}

#[test]
fn what_is_no_archive_is_told() {
    let project = Project::new();
    project.file("target/shop.jar", b"no zip");
    assert!(project.error("target/shop.jar").contains("it is no zip archive"), "{}", project.error("target/shop.jar"));
    assert!(project.error("target/gone.jar").contains("gone.jar"));
}

#[test]
fn an_agent_of_the_manifest_is_warned_of() {
    let project = Project::new();
    project.archive(
        "a.jar",
        &[(
            "META-INF/MANIFEST.MF",
            "Main-Class: a.B\nLauncher-Agent-Class: a.Agent\nAdd-Exports: java.base/sun.nio.ch\n",
        )],
    );
    let plan = project.plan("a.jar");
    assert!(plan.warnings[0].contains("a.Agent"));
    assert!(on_command_line(&plan).contains(&"--add-exports=java.base/sun.nio.ch=ALL-UNNAMED"));
}
