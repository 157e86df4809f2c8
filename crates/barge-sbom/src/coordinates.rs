//! By which name, group and version the world knows a library.

use barge_java::manifest::Attributes;
use packageurl::PackageUrl;
use serde::{Deserialize, Serialize};

/// A library's name in the world of Maven, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Coordinates {
    /// Such as `org.springframework`.
    pub group: Option<String>,
    /// Such as `spring-core`.
    pub name: String,
    /// Such as `6.2.1`.
    pub version: Option<String>,
}

impl Coordinates {
    /// What a `pom.properties` says, which Maven puts into each jar that it makes.
    pub fn of_properties(text: &str) -> Option<Self> {
        let value = |wanted: &str| {
            let pairs = text.lines().filter(|line| !line.trim_start().starts_with(['#', '!']));
            pairs
                .filter_map(|line| line.split_once(['=', ':']))
                .find(|(name, _)| name.trim() == wanted)
                .map(|(_, value)| value)
        };
        let text = |name: &str| value(name).and_then(word);
        Some(Self { group: text("groupId"), name: text("artifactId")?, version: text("version") })
    }

    /// What a jar's name and manifest say together: the name is what its makers call it, the manifest often holds a title instead.
    pub fn of_jar(file_name: &str, manifest: &Attributes) -> Self {
        let stem = file_name.strip_suffix(".jar").unwrap_or(file_name);
        let (name, version) = match split_version(stem) {
            Some((name, version)) => (name, word(version)),
            None => (stem, None),
        };
        let bundle = manifest.get("Bundle-SymbolicName").and_then(|name| name.split(';').next()).and_then(word);
        let said =
            ["Implementation-Version", "Bundle-Version"].iter().find_map(|name| manifest.get(name)).and_then(word);
        Self { group: group(name, bundle.as_deref(), manifest), name: name.to_owned(), version: version.or(said) }
    }

    /// Its package URL; where the group is not known, one that says only the name.
    pub fn purl(&self) -> Option<String> {
        let kind = if self.group.is_some() { "maven" } else { "generic" };
        let mut url = PackageUrl::new(kind, self.name.as_str()).ok()?;
        if let Some(group) = &self.group {
            url.with_namespace(group.as_str()).ok()?;
        }
        if let Some(version) = &self.version {
            url.with_version(version.as_str()).ok()?;
        }
        Some(url.to_string())
    }
}

/// The group, where the manifest says one that fits the name: as the vendor's, or before the name of the bundle.
fn group(name: &str, bundle: Option<&str>, manifest: &Attributes) -> Option<String> {
    // Of the many groups of one vendor, its own name says nothing.
    let vendor = manifest.get("Implementation-Vendor-Id").and_then(word);
    let vendor = vendor.filter(|group| is_group(group) && group != "org.apache");
    let before = || bundle?.strip_suffix(name)?.strip_suffix('.').filter(|group| is_group(group)).map(str::to_owned);
    vendor.or_else(before)
}

fn is_group(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.contains('.') && text.split('.').all(part)
}

/// A text that can stand in a name: short, in one piece, and filled in (builds leave `${project.version}` behind).
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let good = !text.is_empty()
        && text.len() <= 200
        && !text.contains("${")
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| text.to_owned())
}

/// The name and the version in the name of a jar, such as `guava-33.0.0-jre`: the last part that begins with a digit and has a dot
/// begins the version; where none has a dot, the last that begins with a digit.
fn split_version(stem: &str) -> Option<(&str, &str)> {
    let first = |version: &str| version.split('-').next().unwrap_or_default().to_owned();
    let splits = || without_time(stem).match_indices('-').rev().map(|(at, _)| (&stem[..at], &stem[at + 1..]));
    let begins = |(name, version): &(&str, &str)| {
        !name.is_empty() && version.len() < 100 && version.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
    };
    let with_dot = splits().filter(begins).find(|(_, version)| first(version).contains('.'));
    with_dot.or_else(|| splits().find(begins))
}

/// Without the time and number at the end of a snapshot that was downloaded, such as `-20240131.120000-1` (Maven's repository layout),
/// which would be taken for its version.
fn without_time(stem: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = || {
        let (rest, number) = stem.rsplit_once('-')?;
        let (rest, time) = rest.rsplit_once('-')?;
        let (day, clock) = time.split_once('.')?;
        (digits(number) && day.len() == 8 && digits(day) && clock.len() == 6 && digits(clock)).then_some(rest)
    };
    time().unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jars_are_taken_apart() {
        for (stem, expected) in [
            ("guava-33.0.0-jre", Some(("guava", "33.0.0-jre"))),
            ("log4j-1.2-api-2.17.0", Some(("log4j-1.2-api", "2.17.0"))),
            ("spring-boot-3.2.0-M1", Some(("spring-boot", "3.2.0-M1"))),
            ("words-1.0-SNAPSHOT", Some(("words", "1.0-SNAPSHOT"))),
            ("words-1.0-20240131.120000-1", Some(("words", "1.0-20240131.120000-1"))),
            ("classworlds-1.1-alpha-2", Some(("classworlds", "1.1-alpha-2"))),
            ("aopalliance-1", Some(("aopalliance", "1"))),
            ("junit-platform", None),
            ("-1.0", None),
            ("1.0", None),
            ("", None),
        ] {
            assert_eq!(split_version(stem), expected, "{stem}");
        }
    }

    #[test]
    fn properties_are_read_as_maven_writes_them() {
        let text = "#Generated by Maven\n#Mon Jan 01\nversion=1.2\ngroupId = org.example\nartifactId:words\n";
        let found = Coordinates::of_properties(text).unwrap();
        assert_eq!(found.purl().as_deref(), Some("pkg:maven/org.example/words@1.2"));
        assert_eq!(Coordinates::of_properties("version=1\ngroupId=g\n"), None);
        let unfilled = Coordinates::of_properties("artifactId=a\nversion=${project.version}\n").unwrap();
        assert_eq!((unfilled.version, unfilled.group), (None, None));
    }

    #[test]
    fn a_manifest_helps_where_the_name_says_too_little() {
        let manifest = |text: &str| Attributes::parse(text.as_bytes());
        let purl = |name: &str, text: &str| Coordinates::of_jar(name, &manifest(text)).purl().unwrap();
        let jackson =
            "Bundle-SymbolicName: com.fasterxml.jackson.core.jackson-core;singleton:=true\nBundle-Version: 2.17.1\n";
        assert_eq!(purl("jackson-core.jar", jackson), "pkg:maven/com.fasterxml.jackson.core/jackson-core@2.17.1");
        assert_eq!(
            purl("words-2.jar", "Implementation-Vendor-Id: org.example\nImplementation-Version: 3\n"),
            "pkg:maven/org.example/words@2"
        );
        assert_eq!(purl("words.jar", "Implementation-Vendor-Id: The Example Company\n"), "pkg:generic/words");
        assert_eq!(purl("a b%+.jar", ""), "pkg:generic/a%20b%25%2B");
    }
}
