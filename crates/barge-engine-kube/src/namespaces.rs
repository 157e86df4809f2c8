//! Which namespace the services of an environment are in.

use std::fmt;
use std::str::FromStr;

use barge_model::EnvironmentName;

/// What stands for the environment's name.
const PLACE: &str = "{environment}";
/// The longest name of a namespace (RFC 1123).
const LONGEST: usize = 63;
/// The longest name of an environment.
const LONGEST_ENVIRONMENT: usize = 40;

/// Such as `barge-{environment}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespacePattern {
    before: String,
    /// Nothing where the pattern is one namespace, for one environment.
    after: Option<String>,
}

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// More than one place.
    #[error("the pattern {0:?} has {PLACE} more than once")]
    Repeated(String),
    /// No name of a namespace comes out.
    #[error(
        "the pattern {0:?} makes no names of namespaces; hint: lower-case letters, digits and '-', such as barge-{PLACE}"
    )]
    Letters(String),
    /// Together with a long name of an environment it would be too long.
    #[error("the pattern {pattern:?} is too long; hint: at most {most} letters beside {PLACE}")]
    Long {
        /// The pattern.
        pattern: String,
        /// As many letters as there may be.
        most: usize,
    },
}

impl NamespacePattern {
    /// The namespace of an environment. Different ones have different ones, where the pattern names the environment.
    pub fn of(&self, environment: &EnvironmentName) -> String {
        match &self.after {
            Some(after) => format!("{}{environment}{after}", self.before),
            None => self.before.clone(),
        }
    }

    /// Whether each environment has a namespace of its own.
    pub fn names_the_environment(&self) -> bool {
        self.after.is_some()
    }
}

impl Default for NamespacePattern {
    fn default() -> Self {
        Self { before: "barge-".to_owned(), after: Some(String::new()) }
    }
}

impl FromStr for NamespacePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (before, after) = match text.split_once(PLACE) {
            Some((_, after)) if after.contains(PLACE) => return Err(InvalidPattern::Repeated(text.to_owned())),
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        // Names of environments begin and end as those of namespaces may.
        let sample = text.replacen(PLACE, "e", 1);
        let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if sample.is_empty() || !sample.chars().all(fits) || sample.starts_with('-') || sample.ends_with('-') {
            return Err(InvalidPattern::Letters(text.to_owned()));
        }
        let most = LONGEST - after.map_or(0, |_| LONGEST_ENVIRONMENT);
        if before.len() + after.map_or(0, str::len) > most {
            return Err(InvalidPattern::Long { pattern: text.to_owned(), most });
        }
        Ok(Self { before: before.to_owned(), after: after.map(str::to_owned) })
    }
}

impl fmt::Display for NamespacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.after {
            Some(after) => write!(f, "{}{PLACE}{after}", self.before),
            None => f.write_str(&self.before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_environment_has_its_namespace() {
        let test = EnvironmentName::new("test").unwrap();
        for (pattern, namespace) in [
            ("barge-{environment}", "barge-test"),
            ("{environment}", "test"),
            ("{environment}-services", "test-services"),
            ("a-{environment}-b", "a-test-b"),
            ("services", "services"),
        ] {
            let parsed: NamespacePattern = pattern.parse().unwrap();
            assert_eq!((parsed.of(&test).as_str(), parsed.to_string().as_str()), (namespace, pattern));
            assert_eq!(parsed.names_the_environment(), pattern.contains('{'));
        }
        assert_eq!(NamespacePattern::default().of(&test), "barge-test");
    }

    #[test]
    fn what_makes_no_names_is_refused() {
        let longest = format!("{}{PLACE}", "b".repeat(23));
        let name = EnvironmentName::new("e".repeat(LONGEST_ENVIRONMENT)).unwrap();
        assert_eq!(longest.parse::<NamespacePattern>().unwrap().of(&name).len(), LONGEST);
        let long = format!("b{longest}");
        assert_eq!(long.parse::<NamespacePattern>(), Err(InvalidPattern::Long { pattern: long.clone(), most: 23 }));
        for nonsense in
            ["", "-{environment}", "{environment}-", "Barge-{environment}", "barge_{environment}", "{env}", "a.b"]
        {
            assert_eq!(nonsense.parse::<NamespacePattern>(), Err(InvalidPattern::Letters(nonsense.to_owned())));
        }
        let twice = "{environment}-{environment}";
        assert_eq!(twice.parse::<NamespacePattern>(), Err(InvalidPattern::Repeated(twice.to_owned())));
    }
}
