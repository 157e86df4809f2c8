//! A program with its libraries, as layers.

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use barge_image::plan::{Content, Entry, LayerPlan, PlannedLayer, place};
use barge_java::Archive;
use barge_sbom::{Base, Bill, libraries};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub(crate) const IMAGE: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const BASE: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// What Maven puts into a jar.
pub(crate) fn maven(group: &str, name: &str, version: &str) -> (String, Vec<u8>) {
    let text = format!("#Created by Apache Maven\ngroupId={group}\nartifactId={name}\nversion={version}\n");
    (format!("META-INF/maven/{group}/{name}/pom.properties"), text.into_bytes())
}

pub(crate) fn jar(members: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn manifest(text: &str) -> (String, Vec<u8>) {
    ("META-INF/MANIFEST.MF".to_owned(), format!("Manifest-Version: 1.0\n{text}").into_bytes())
}

/// Libraries of all kinds, by name.
pub(crate) fn jars() -> Vec<(&'static str, Vec<u8>)> {
    let deflated = CompressionMethod::Deflated;
    vec![
        ("spring-core-6.2.1.jar", jar(&[maven("org.springframework", "spring-core", "6.2.1")], deflated)),
        (
            "jackson-core-2.17.1.jar",
            jar(
                &[
                    manifest("Bundle-SymbolicName: com.fasterxml.jackson.core.jackson-core\n"),
                    ("x".to_owned(), vec![7; 300_000]),
                ],
                CompressionMethod::Stored,
            ),
        ),
        ("aopalliance.jar", jar(&[manifest("Implementation-Version: 1.0\n")], deflated)),
        (
            "h2-2.3.232.jar",
            jar(&[manifest("Implementation-Title: H2\n"), ("org/h2/Driver.class".to_owned(), vec![1])], deflated),
        ),
        (
            "shaded-3.jar",
            jar(
                &[
                    maven("org.example", "shaded", "3"),
                    maven("com.google.guava", "guava", "33.0.0-jre"),
                    maven("org.x", "y", "1"),
                ],
                deflated,
            ),
        ),
        ("no-archive-1.0.jar", b"this is no archive".to_vec()),
        ("overlapping-2.1.jar", overlapping()),
    ]
}

/// A jar whose list of members names the same bytes for two of them, as some that are made to be unreadable do.
fn overlapping() -> Vec<u8> {
    let members = [maven("org.example", "overlapping", "2.1"), ("other".to_owned(), b"other".to_vec())];
    let mut bytes = jar(&members, CompressionMethod::Stored);
    // The second record of the list; where its member begins is 42 bytes behind the record's own start (APPNOTE 4.3.12).
    let record = bytes.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    bytes[record + 42..record + 46].fill(0);
    bytes
}

/// Layers of a program whose libraries are in an archive at `path`, which is written.
pub(crate) fn in_archive(path: &Path, method: CompressionMethod) -> Vec<PlannedLayer> {
    let members: Vec<_> = jars().into_iter().map(|(name, bytes)| (format!("BOOT-INF/lib/{name}"), bytes)).collect();
    std::fs::write(path, jar(&members, method)).unwrap();
    let archive = Archive::open(path).unwrap();
    let content = |name: &str| Content::Inside(archive.inside(name).unwrap());
    let files = archive
        .members()
        .iter()
        .map(|member| (member.name.replace("BOOT-INF/", ""), content(&member.name), member.size));
    layers(files.collect())
}

/// The same with the libraries in a directory, which is filled.
pub(crate) fn in_directory(directory: &Path) -> Vec<PlannedLayer> {
    let file = |(name, bytes): (&str, Vec<u8>)| {
        let path = directory.join(name);
        std::fs::write(&path, &bytes).unwrap();
        (format!("lib/{name}"), Content::Path(path), bytes.len() as u64)
    };
    layers(jars().into_iter().map(file).collect())
}

fn layers(libraries: Vec<(String, Content, u64)>) -> Vec<PlannedLayer> {
    let (name, bytes) = maven("org.example", "shop", "1.4");
    let own = [(name, bytes), ("Main.class".to_owned(), b"class".to_vec())];
    let own = own.map(|(name, bytes)| {
        let size = bytes.len() as u64;
        (name, Content::Bytes(Arc::from(bytes)), size)
    });
    let layer = |name: &'static str, files: Vec<(String, Content, u64)>| {
        let mut entries = LayerPlan::new();
        for (path, content, size) in files {
            place(
                &mut entries,
                format!("app/{path}"),
                Entry::File { content, size, executable: false, stamped: false },
            );
        }
        PlannedLayer { name: name.into(), why: "a test".into(), entries }
    };
    vec![layer("dependencies", libraries), layer("classes", own.into())]
}

pub(crate) fn bill(layers: &[PlannedLayer]) -> Bill {
    let base = Base { name: "registry.example/java:21".to_owned(), digest: Some(BASE.to_owned()) };
    Bill::new("shop", IMAGE, Some(base), layers.iter().map(|layer| libraries::of_layer(layer).unwrap()))
}
