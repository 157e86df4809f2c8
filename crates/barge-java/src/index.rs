//! The indexes that Spring Boot's build plugins put into a jar: `layers.idx` and `classpath.idx`.
//!
//! Both look like YAML and are not read as such by Spring Boot either: lines with a dash, names in quotes or, before 2.3 was final,
//! without.

/// A layer of `layers.idx`: its name, and what is in it; a path that ends with `/` stands for all that is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexedLayer {
    /// What the project calls it.
    pub(crate) name: String,
    /// Paths in the archive.
    pub(crate) paths: Vec<String>,
}

/// Reads `layers.idx`; none where a line does not fit.
pub(crate) fn layers(text: &str) -> Option<Vec<IndexedLayer>> {
    let mut layers: Vec<IndexedLayer> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(rest) = line.strip_prefix("- ") {
            let name = unquoted(rest.trim().strip_suffix(':')?)?;
            layers.push(IndexedLayer { name, paths: Vec::new() });
        } else {
            let path = unquoted(line.strip_prefix("  - ")?.trim())?;
            layers.last_mut()?.paths.push(path);
        }
    }
    Some(layers).filter(|layers| !layers.is_empty())
}

/// Which of the layers a file is in: the first that names it, as Spring Boot looks for it.
pub(crate) fn layer_of(layers: &[IndexedLayer], file: &str) -> Option<usize> {
    let names = |path: &String| if path.ends_with('/') { file.starts_with(path.as_str()) } else { file == path };
    layers.iter().position(|layer| layer.paths.iter().any(names))
}

/// Reads `classpath.idx`; none where a line does not fit.
pub(crate) fn class_path(text: &str) -> Option<Vec<String>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| unquoted(line.strip_prefix("- ")?.trim())).collect()
}

fn unquoted(word: &str) -> Option<String> {
    let word = match word.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => word,
    };
    (!word.is_empty()).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const QUOTED: &str = "- \"dependencies\":\n  - \"BOOT-INF/lib/\"\n- \"loader\":\n  - \"org/\"\n- \"empty\":\n- \"application\":\n  - \"BOOT-INF/classes/\"\n  - \"BOOT-INF/lib/own.jar\"\n";

    #[test]
    fn quotes_make_no_difference() {
        let quoted = layers(QUOTED).unwrap();
        assert_eq!(Some(&quoted), layers(&QUOTED.replace('"', "")).as_ref());
        assert_eq!(Some(&quoted), layers(&QUOTED.replace('\n', "\r\n")).as_ref());
        let names: Vec<&str> = quoted.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["dependencies", "loader", "empty", "application"]);
    }

    #[test]
    fn the_first_layer_that_names_a_file_has_it() {
        let layers = layers(QUOTED).unwrap();
        assert_eq!(layer_of(&layers, "BOOT-INF/lib/own.jar"), Some(0));
        assert_eq!(layer_of(&layers, "BOOT-INF/classes/a/B.class"), Some(3));
        assert_eq!(layer_of(&layers, "META-INF/MANIFEST.MF"), None);
    }

    proptest! {
        #[test]
        fn what_a_plugin_writes_is_read_back(names in vec(("[a-z -]{0,8}[a-z]", vec("[A-Za-z/._ -]{0,8}[a-z/]", 0..4)), 1..5)) {
            let mut text = String::new();
            for (name, paths) in &names {
                text.push_str(&format!("- \"{name}\":\n"));
                text.extend(paths.iter().map(|path| format!("  - \"{path}\"\n")));
            }
            let read: Vec<_> = layers(&text).unwrap().into_iter().map(|layer| (layer.name, layer.paths)).collect();
            prop_assert_eq!(read, names);
        }

        #[test]
        fn whatever_is_there_is_read_or_refused(text in "[-: \"\r\na/]{0,40}") {
            let found = layers(&text).unwrap_or_default();
            prop_assert!(found.iter().all(|layer| !layer.name.is_empty() && layer.paths.iter().all(|path| !path.is_empty())));
            prop_assert!(class_path(&text).unwrap_or_default().iter().all(|path| !path.is_empty()));
        }
    }

    #[test]
    fn what_does_not_fit_is_no_index() {
        for text in
            ["", "\n", "dependencies:\n", "- a\n", "  - a\n", "- \"a:\n", "- a:\n - b\n", "- :\n", "- a:\n  - \"\"\n"]
        {
            assert_eq!(layers(text), None, "{text:?}");
        }
        for text in ["a.jar", "- \"a.jar", "- ", "-"] {
            assert_eq!(class_path(text), None, "{text:?}");
        }
        assert_eq!(class_path("- \"b.jar\"\n- a.jar\n").unwrap(), ["b.jar", "a.jar"]);
    }
}
