//! Any text in the place of what a Java program says of itself: it becomes a plan whose files stay below /app, or an error.

use barge_image::plan::{Entry, PlannedLayer};
use barge_java::{Artifact, Options};
use barge_testkit::fuzz::{damaged, fuzz};
use proptest::prelude::*;

use crate::archive::{deflated, on_disk, packed};

/// So many cases are looked at in every run.
const CASES: u32 = 256;
/// What these texts are made of.
const WORDS: [&str; 12] = [
    "BOOT-INF/",
    "../",
    "/etc/",
    "\r\n ",
    "\n\nName: x\n",
    "- \"",
    "  - \"",
    "Class-Path: ../../a.jar a%00.jar",
    "Main-Class: a.B",
    "Spring-Boot-Lib: ../",
    "Spring-Boot-Classes: /",
    ".wh..wh..opq",
];

const BOOT: &str = "Manifest-Version: 1.0\nMain-Class: org.springframework.boot.loader.launch.JarLauncher\n\
                    Start-Class: example.Application\nSpring-Boot-Version: 3.4.1\nSpring-Boot-Classes: BOOT-INF/classes/\n\
                    Spring-Boot-Lib: BOOT-INF/lib/\nSpring-Boot-Classpath-Index: BOOT-INF/classpath.idx\n\
                    Spring-Boot-Layers-Index: BOOT-INF/layers.idx\n";
const JAR: &str = "Manifest-Version: 1.0\nMain-Class: example.Application\nClass-Path: lib/words-1.0.jar\n";
const LAYERS: &str = "- \"dependencies\":\n  - \"BOOT-INF/lib/\"\n- \"application\":\n  - \"BOOT-INF/classes/\"\n";
const CLASS_PATH: &str = "- \"BOOT-INF/lib/words-1.0.jar\"\n- \"BOOT-INF/lib/letters-1.0-SNAPSHOT.jar\"\n";

fn stays_inside(layers: &[PlannedLayer]) -> Result<(), TestCaseError> {
    for (path, entry) in layers.iter().flat_map(|layer| &layer.entries) {
        let parts: Vec<&str> = path.split('/').collect();
        prop_assert_eq!(parts[0], "app");
        prop_assert!(parts.iter().all(|part| !part.is_empty() && ![".", ".."].contains(part)), "{}", path);
        prop_assert!(!matches!(entry, Entry::Link { .. }), "{} is a link", path);
    }
    Ok(())
}

fn plan(members: &[(&str, &[u8])]) -> Result<(), TestCaseError> {
    let file = on_disk(&packed(members, deflated()));
    match barge_java::plan(&Artifact { path: file.path.clone() }, &Options::default()) {
        Ok(plan) => stays_inside(&plan.layers),
        Err(_) => Ok(()),
    }
}

#[test]
fn no_texts_in_a_spring_boot_jar_do_any_harm() {
    let text = |good: &str| damaged(good.as_bytes().to_vec(), &WORDS);
    fuzz(CASES, &(text(BOOT), text(LAYERS), text(CLASS_PATH)), |(manifest, layers, class_path)| {
        plan(&[
            ("META-INF/MANIFEST.MF", &manifest),
            ("BOOT-INF/layers.idx", &layers),
            ("BOOT-INF/classpath.idx", &class_path),
            ("BOOT-INF/classes/example/Application.class", b"class"),
            ("BOOT-INF/classes/application.properties", b"a=b"),
            ("BOOT-INF/lib/words-1.0.jar", b"jar"),
            ("BOOT-INF/lib/letters-1.0-SNAPSHOT.jar", b"jar"),
            ("org/springframework/boot/loader/launch/JarLauncher.class", b"class"),
        ])
    });
}

#[test]
fn no_manifest_of_a_jar_does_any_harm() {
    fuzz(CASES, &damaged(JAR.as_bytes().to_vec(), &WORDS), |manifest| {
        plan(&[("META-INF/MANIFEST.MF", &manifest), ("example/Application.class", b"class"), ("page.html", b"page")])
    });
}
