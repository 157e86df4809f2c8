//! What is found in layers.

use barge_image::plan::{Content, Entry};
use barge_sbom::{LibraryError, Source, libraries};
use tempfile::TempDir;
use zip::CompressionMethod;

use crate::support::{bill, in_archive, in_directory, jars};

#[test]
fn libraries_are_the_same_wherever_they_are_packed() {
    let directory = TempDir::new().unwrap();
    let here = bill(&in_directory(directory.path()));
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        assert_eq!(bill(&in_archive(&directory.path().join("shop.jar"), method)), here);
    }
    let purls: Vec<_> = here.libraries.iter().map(|one| one.coordinates.purl().unwrap()).collect();
    assert_eq!(
        purls,
        [
            "pkg:generic/aopalliance@1.0",
            "pkg:maven/com.h2database/h2@2.3.232",
            "pkg:maven/com.fasterxml.jackson.core/jackson-core@2.17.1",
            "pkg:generic/no-archive@1.0",
            "pkg:generic/overlapping@2.1",
            "pkg:maven/org.example/shaded@3",
            "pkg:maven/org.springframework/spring-core@6.2.1",
        ]
    );
    assert_eq!(here.program.as_ref().unwrap().purl().unwrap(), "pkg:maven/org.example/shop@1.4");
    let shaded = &here.libraries[5];
    assert_eq!((shaded.path.as_str(), shaded.source), ("app/lib/shaded-3.jar", Source::Maven));
    let bundled: Vec<_> = shaded.bundled.iter().map(|one| one.purl().unwrap()).collect();
    assert_eq!(bundled, ["pkg:maven/com.google.guava/guava@33.0.0-jre", "pkg:maven/org.x/y@1"]);
    for (name, bytes) in jars() {
        let path = format!("app/lib/{name}");
        let library = here.libraries.iter().find(|one| one.path == path).unwrap();
        assert_eq!(format!("sha256:{}", library.sha256), barge_image::layer::digest(&bytes), "{name}");
    }
}

#[test]
fn a_library_that_is_odd_loses_no_more_than_its_own_details() {
    let directory = TempDir::new().unwrap();
    let here = bill(&in_directory(directory.path()));
    let unread: Vec<_> =
        here.libraries.iter().filter_map(|one| Some((one.path.as_str(), one.unread.as_deref()?))).collect();
    let overlap = "its bytes are those of another member too, which only archives do that are made to fill disks";
    assert_eq!(
        unread,
        [
            ("app/lib/no-archive-1.0.jar", "it is no zip archive, which jars and wars are"),
            ("app/lib/overlapping-2.1.jar", format!("other: {overlap}").as_str()),
        ]
    );
}

#[test]
fn what_is_found_can_be_kept() {
    let directory = TempDir::new().unwrap();
    for layer in in_directory(directory.path()) {
        let found = libraries::of_layer(&layer).unwrap();
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<libraries::Found>(&text).unwrap(), found);
    }
}

#[test]
fn a_library_that_cannot_be_read_is_named() {
    let directory = TempDir::new().unwrap();
    let layers = in_directory(directory.path());
    let gone = directory.path().join("spring-core-6.2.1.jar");
    std::fs::remove_file(&gone).unwrap();
    let error = libraries::of_layer(&layers[0]).unwrap_err();
    assert_eq!(error.to_string(), "read the library app/lib/spring-core-6.2.1.jar");
    assert!(matches!(error, LibraryError::Archive { .. }), "{error:?}");
    // A directory in its place is no archive, and cannot be read either.
    std::fs::create_dir(&gone).unwrap();
    assert!(matches!(libraries::of_layer(&layers[0]).unwrap_err(), LibraryError::Read { .. }));
}

#[test]
fn files_that_are_no_jars_are_not_looked_at() {
    let mut layer = in_directory(TempDir::new().unwrap().path()).remove(1);
    let nowhere = Content::Path("/nowhere".into());
    layer
        .entries
        .insert("app/page.html".into(), Entry::File { content: nowhere, size: 1, executable: false, stamped: true });
    let found = libraries::of_layer(&layer).unwrap();
    assert_eq!((found.libraries.len(), found.program.len()), (0, 1));
}
