//! `barge build --explain`, and what `init` and `build` find of Maven's and Gradle's projects.

use std::io::Write;

use insta::assert_snapshot;

use crate::support::Place;

const MANIFEST: &str = "Main-Class: org.springframework.boot.loader.launch.JarLauncher\nStart-Class: example.Shop\nSpring-Boot-Version: 3.4.1\n";

/// Writes a jar; a member's name is its content.
fn jar(place: &Place, path: &str, manifest: &str, members: &[&str]) {
    let path = place.project().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut jar = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, text) in
        [("META-INF/MANIFEST.MF", manifest)].into_iter().chain(members.iter().map(|name| (*name, *name)))
    {
        jar.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        jar.write_all(text.as_bytes()).unwrap();
    }
    jar.finish().unwrap();
}

pub(crate) fn boot(place: &Place) {
    place.write("pom.xml", "<project/>");
    let members = [
        "BOOT-INF/classes/example/Shop.class",
        "BOOT-INF/classes/static/index.html",
        "BOOT-INF/lib/b-1.jar",
        "BOOT-INF/lib/a-1-SNAPSHOT.jar",
    ];
    jar(place, "target/shop-1.jar", MANIFEST, &members);
}

#[test]
fn name_and_kind_are_enough() {
    let place = Place::new();
    boot(&place);
    assert_snapshot!(place.run("init -m shop").told(), @r"
    exit code 0
    --- stdout
    wrote PROJECT/barge.yaml

      name: shop
      kind: web

    `barge deploy` releases it (Spring Boot 3.4.1 jar); `barge build --explain` shows what it is made of
    ");
    assert_snapshot!(place.run("build --explain").told());
    let json = place.run("build --explain --json").json();
    assert_eq!(
        json["class_path"],
        serde_json::json!(["classes", "lib/b-1.jar", "lib/a-1-SNAPSHOT.jar", "barge/spring"])
    );
    assert_eq!(json["layers"][0]["name"], "dependencies");
    assert!(place.run("build --digest").ok().starts_with("sha256:"));
}

#[test]
fn what_barge_yaml_says_of_a_java_program_holds() {
    let place = Place::new();
    boot(&place);
    let explained = |text: &str| {
        place.write("barge.yaml", &format!("name: shop\nkind: web\n{text}"));
        place.run("build --explain --json").json()
    };
    let options = |json: &serde_json::Value| {
        json["jvm"]
            .as_array()
            .unwrap()
            .iter()
            .map(|said| said["option"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let plain = options(&explained(""));
    assert!(!plain.iter().any(|option| option.contains("MaxRAMPercentage")), "{plain:?}");
    let limited = options(&explained("environments: {product: {resources: {memory: 1GiB}}}\nbuild: {jvm: [-Xss1m]}\n"));
    assert!(limited.contains(&"-XX:MaxRAMPercentage=70".to_owned()), "{limited:?}");
    assert_eq!(limited.last().unwrap(), "-Xss1m");
    let said = options(&explained("env: {JAVA_TOOL_OPTIONS: -Dfile.encoding=ISO-8859-1}\n"));
    assert!(!said.iter().any(|option| option.starts_with("-Dfile.encoding")), "{said:?}");
    let command = explained("command: java -Xmx1g @barge/java.args --verbose\n");
    assert_eq!((&command["command"][1], &command["kind"]), (&"-Xmx1g".into(), &"Spring Boot 3.4.1 jar".into()));
    let by_hand = explained("command: java -jar shop-1.jar\nbuild: {path: target/shop-1.jar}\n");
    assert_eq!((&by_hand["kind"], &by_hand["layers"][0]["files"]), (&"files".into(), &1.into()));
    // The same where the build tool has left it, and not the whole project; and nobody doubts which of two it is.
    let found = explained("command: java -jar shop-1.jar\n");
    assert_eq!((&found["from"], &found["layers"][0]["files"]), (&"target/shop-1.jar".into(), &1.into()));
    jar(&place, "target/other-1.jar", MANIFEST, &["BOOT-INF/classes/Other.class"]);
    assert_eq!(explained("command: java -jar target/other-1.jar\n")["kind"], "files");
}

#[test]
fn projects_that_cannot_be_planned_are_told_why() {
    let place = Place::new();
    let barge_yaml = |rest: &str| place.write("barge.yaml", &format!("name: shop\nkind: web\n{rest}"));
    let mut told = String::new();
    let mut tell = |what: &str| told.push_str(&format!("{what}\n{}\n", place.run("build --digest").told()));
    barge_yaml("");
    place.write("pom.xml", "<project/>");
    tell("nothing is built");
    jar(&place, "target/shop-1.jar", "Manifest-Version: 1.0\n", &[]);
    tell("a library");
    jar(&place, "target/other-1.jar", MANIFEST, &[]);
    tell("two programs");
    barge_yaml("build: {path: target/other-1.jar}\ncommand: ./run.sh\n");
    tell("a command that is not there");
    barge_yaml("build: {path: target/other-1.jar, jvm: [Xmx1g]}\n");
    tell("an option that is none");
    assert_snapshot!(told);
}

#[test]
fn sources_that_are_newer_than_the_program_are_warned_of() {
    let place = Place::new();
    boot(&place);
    place.write("barge.yaml", "name: shop\nkind: web\n");
    let source = place.write("src/main/java/Shop.java", "class Shop {}");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(source).unwrap().set_modified(later).unwrap();
    let run = place.run("build --digest");
    assert!(run.err.contains("warning: src/main/java/Shop.java is newer than target/shop-1.jar"), "{}", run.told());
}
