//! `charts/barge` at the repository's root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../charts/barge")
}

#[test]
fn the_chart_is_what_is_rendered() {
    let files = barge_cluster::chart::files().unwrap();
    if std::env::var_os("BARGE_UPDATE").is_some() {
        for (path, text) in &files {
            let path = root().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    let mut there = BTreeMap::new();
    read(&root(), &root(), &mut there);
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&there),
        names(&files),
        "hint: BARGE_UPDATE=1 cargo test -p barge-cluster, and remove what is not needed"
    );
    for (path, text) in &files {
        assert_eq!(&there[path], text, "{path}; hint: BARGE_UPDATE=1 cargo test -p barge-cluster");
    }
}

#[test]
fn nothing_stands_for_a_value_that_helm_would_not_replace() {
    for (path, text) in barge_cluster::chart::files().unwrap() {
        assert!(!text.contains("BARGE-CHART"), "{path}");
        if path.starts_with("templates/") {
            assert!(!text.contains(barge_cluster::NAMESPACE), "{path}: the namespace is the release's");
            assert_eq!(text.matches("{{").count(), text.matches("}}").count(), "{path}");
            let ends = text.matches("{{- end }}").count();
            let begins =
                ["{{- if", "{{- with", "{{- range"].map(|word| text.matches(word).count()).iter().sum::<usize>();
            assert_eq!(begins, ends, "{path}");
        }
    }
}

fn read(root: &Path, directory: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
}
