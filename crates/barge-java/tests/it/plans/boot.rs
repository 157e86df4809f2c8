//! Spring Boot's jars and wars.

use barge_java::Options;

use super::{Project, changed, on_command_line, text_of, told};

const MANIFEST: &str = "Manifest-Version: 1.0\nMain-Class: org.springframework.boot.loader.launch.JarLauncher\n\
    Start-Class: example.Shop\nSpring-Boot-Version: 3.4.1\nSpring-Boot-Classes: BOOT-INF/classes/\nSpring-Boot-Lib: BOOT-INF/lib/\n\
    Spring-Boot-Classpath-Index: BOOT-INF/classpath.idx\nSpring-Boot-Layers-Index: BOOT-INF/layers.idx\n";

const LAYERS: &str = "- \"dependencies\":\n  - \"BOOT-INF/lib/a-1.0.jar\"\n  - \"BOOT-INF/lib/spring-boot-3.4.1.jar\"\n\
    - \"spring-boot-loader\":\n  - \"org/\"\n- \"snapshot-dependencies\":\n  - \"BOOT-INF/lib/b-2-SNAPSHOT.jar\"\n\
    - \"application\":\n  - \"BOOT-INF/classes/\"\n  - \"BOOT-INF/classpath.idx\"\n  - \"BOOT-INF/layers.idx\"\n  - \"BOOT-INF/lib/words-1.0.jar\"\n  - \"META-INF/\"\n";

const CLASS_PATH: &str =
    "- \"BOOT-INF/lib/spring-boot-3.4.1.jar\"\n- \"BOOT-INF/lib/words-1.0.jar\"\n- \"BOOT-INF/lib/a-1.0.jar\"\n";

/// Members as spring-boot-maven-plugin writes them.
fn members<'a>(manifest: &'a str, layers: &'a str, class_path: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut members = vec![
        ("META-INF/", ""),
        ("META-INF/MANIFEST.MF", manifest),
        ("META-INF/maven/example/shop/pom.properties", ""),
        ("org/springframework/boot/loader/launch/JarLauncher.class", ""),
        ("BOOT-INF/classes/example/Shop.class", "class"),
        ("BOOT-INF/classes/application.yaml", ""),
        ("BOOT-INF/classes/static/index.html", ""),
        ("BOOT-INF/classes/META-INF/build-info.properties", "build.time=1"),
        ("BOOT-INF/lib/a-1.0.jar", ""),
        ("BOOT-INF/lib/b-2-SNAPSHOT.jar", ""),
        ("BOOT-INF/lib/spring-boot-3.4.1.jar", ""),
        ("BOOT-INF/lib/words-1.0.jar", ""),
        ("BOOT-INF/classpath.idx", class_path),
        ("BOOT-INF/layers.idx", layers),
    ];
    members.retain(|(name, text)| !(name.ends_with(".idx") && text.is_empty()));
    members
}

fn project(manifest: &str, layers: &str, class_path: &str) -> Project {
    let project = Project::new();
    project.archive("target/shop.jar", &members(manifest, layers, class_path));
    project
}

#[test]
fn a_jar_with_its_indexes_becomes_five_layers() {
    insta::assert_snapshot!(told(&project(MANIFEST, LAYERS, CLASS_PATH).plan("target/shop.jar")));
}

#[test]
fn quotes_in_the_indexes_make_no_difference() {
    let plain = project(MANIFEST, &LAYERS.replace('"', ""), &CLASS_PATH.replace('"', "")).plan("target/shop.jar");
    assert_eq!(told(&plain), told(&project(MANIFEST, LAYERS, CLASS_PATH).plan("target/shop.jar")));
}

#[test]
fn without_indexes_names_and_the_archives_order_decide() {
    let plan = project(MANIFEST, "", "").plan("target/shop.jar");
    let path = "classes:lib/a-1.0.jar:lib/b-2-SNAPSHOT.jar:lib/spring-boot-3.4.1.jar:lib/words-1.0.jar:barge/spring";
    assert_eq!(plan.class_path.join(":"), path);
    let layers: Vec<_> = plan.layers.iter().map(|layer| (layer.name.as_ref(), layer.extent().0)).collect();
    let expected = [("dependencies", 3), ("snapshot dependencies", 1), ("start", 5), ("resources", 2), ("classes", 4)];
    assert_eq!(layers, expected);
}

#[test]
fn layers_of_the_project_stay_as_they_are() {
    let layers = "- \"others\":\n  - \"BOOT-INF/lib/a-1.0.jar\"\n- \"spring-boot-loader\":\n  - \"org/\"\n- \"company\":\n  - \"BOOT-INF/lib/\"\n\
        - \"application\":\n  - \"BOOT-INF/classes/\"\n  - \"META-INF/\"\n";
    insta::assert_snapshot!(told(&project(MANIFEST, layers, CLASS_PATH).plan("target/shop.jar")));
}

#[test]
fn all_launchers_are_known() {
    for package in ["org.springframework.boot.loader.", "org.springframework.boot.loader.launch."] {
        for launcher in ["JarLauncher", "WarLauncher", "PropertiesLauncher"] {
            let manifest = format!("Main-Class: {package}{launcher}\nStart-Class: example.Shop\n");
            let plan = project(&manifest, "", "").plan("target/shop.jar");
            assert!(plan.kind.starts_with("Spring Boot "), "{package}{launcher}: {}", plan.kind);
            assert_eq!(plan.notes.len(), usize::from(launcher == "PropertiesLauncher"));
        }
    }
    let other = project("Main-Class: org.springframework.boot.loader.OtherLauncher\n", "", "").plan("target/shop.jar");
    assert_eq!(other.kind, "jar");
}

#[test]
fn what_properties_launcher_would_read_is_warned_of() {
    let manifest =
        "Main-Class: org.springframework.boot.loader.PropertiesLauncher\nStart-Class: a.B\nLoader-Path: ext/\n";
    let plan = project(manifest, "", "").plan("target/shop.jar");
    assert!(plan.warnings[0].contains("loader.path"), "{:?}", plan.warnings);
}

#[test]
fn a_changed_class_changes_one_layer() {
    let project = project(MANIFEST, LAYERS, CLASS_PATH);
    let mut members = members(MANIFEST, LAYERS, CLASS_PATH);
    for (name, text) in &mut members {
        match *name {
            "BOOT-INF/classes/example/Shop.class" => *text = "other",
            "BOOT-INF/classes/META-INF/build-info.properties" => *text = "build.time=2",
            _ => {}
        }
    }
    project.archive("other/shop.jar", &members);
    assert_eq!(changed(&project.plan("target/shop.jar"), &project.plan("other/shop.jar")), ["classes"]);
}

#[test]
fn a_war_that_starts_itself_keeps_its_shape() {
    let project = Project::new();
    let manifest = "Main-Class: org.springframework.boot.loader.launch.WarLauncher\nStart-Class: example.Shop\nSpring-Boot-Version: 3.4.1\n\
        Spring-Boot-Classes: WEB-INF/classes/\nSpring-Boot-Lib: WEB-INF/lib/\n";
    let members = [
        ("META-INF/MANIFEST.MF", manifest),
        ("index.jsp", ""),
        ("WEB-INF/web.xml", ""),
        ("WEB-INF/classes/example/Shop.class", ""),
        ("WEB-INF/lib/b.jar", ""),
        ("WEB-INF/lib/a.jar", ""),
        ("WEB-INF/lib-provided/tomcat-embed-core-10.1.jar", ""),
        ("org/springframework/boot/loader/launch/WarLauncher.class", ""),
    ];
    project.archive("target/shop.war", &members);
    insta::assert_snapshot!(told(&project.plan("target/shop.war")));
}

#[test]
fn an_unpacked_jar_is_the_same() {
    let project = project(MANIFEST, LAYERS, CLASS_PATH);
    for (name, text) in members(MANIFEST, LAYERS, CLASS_PATH) {
        if !name.ends_with('/') {
            project.file(&format!("unpacked/{name}"), if text.is_empty() { name } else { text }.as_bytes());
        }
    }
    let (unpacked, jar) = (project.plan("unpacked"), project.plan("target/shop.jar"));
    assert_eq!(told(&unpacked), told(&jar));
    assert_eq!(changed(&unpacked, &jar), [""; 0]);
}

#[test]
fn the_jvm_is_told_what_the_manifest_asks_for() {
    let manifest =
        format!("{MANIFEST}Add-Opens: java.base/java.lang java.base/java.util\nEnable-Native-Access: ALL-UNNAMED\n");
    let plan = project(&manifest, LAYERS, CLASS_PATH).plan("target/shop.jar");
    let options = on_command_line(&plan);
    for option in [
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "--add-opens=java.base/java.util=ALL-UNNAMED",
        "--enable-native-access=ALL-UNNAMED",
    ] {
        assert!(options.contains(&option), "{options:?}");
    }
}

#[test]
fn settings_fit_the_time_that_is_left_for_a_stop() {
    let options = Options {
        grace: std::time::Duration::from_secs(30),
        limited_memory: true,
        jvm: vec!["-Xss1m".to_owned(), "-Dname=a b".to_owned()],
        ..Options::default()
    };
    let plan = project(MANIFEST, LAYERS, CLASS_PATH).plan_with("target/shop.jar", &options).unwrap();
    let text = |path: &str| format!("--- {path}\n{}", text_of(&plan, path));
    let paths = ["app/barge/java.args", "app/barge/jvm.flags", "app/barge/spring/spring-defaults.properties"];
    insta::assert_snapshot!(paths.map(text).concat());
}

#[test]
fn mistakes_are_told() {
    let launcher = "Main-Class: org.springframework.boot.loader.JarLauncher\n";
    let check =
        |manifest: &str, layers: &str, class_path: &str| project(manifest, layers, class_path).error("target/shop.jar");
    let start = format!("{launcher}Start-Class: a.B\n");
    insta::assert_snapshot!(check(launcher, "", ""), @"target/shop.jar is started by Spring Boot's JarLauncher, and its manifest names no Start-Class");
    insta::assert_snapshot!(check(&start, "nonsense", ""), @r"
    target/shop.jar: BOOT-INF/layers.idx cannot be understood
    hint: build it anew with the build tool's Spring Boot plugin
    ");
    insta::assert_snapshot!(check(&start, "", "nonsense"), @r"
    target/shop.jar: BOOT-INF/classpath.idx cannot be understood
    hint: build it anew with the build tool's Spring Boot plugin
    ");
    let named = Project::new();
    named.archive("a.jar", &[("META-INF/MANIFEST.MF", &start), ("BOOT-INF/lib/a:b.jar", "")]);
    insta::assert_snapshot!(named.error("a.jar"), @r#""lib/a:b.jar" cannot be in a class path: its name has a ':' or a '*'"#);
    let hidden = Project::new();
    hidden.archive("a.jar", &[("META-INF/MANIFEST.MF", &start), ("BOOT-INF/classes/.wh.a", "")]);
    insta::assert_snapshot!(hidden.error("a.jar"));
}
