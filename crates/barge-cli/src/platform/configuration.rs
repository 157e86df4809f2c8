//! The server's configuration: which environments there are, and what each of them is made of.
//!
//! Without a file there is what the command line names, each on this machine. It leaves out services: those are in each project's `barge.yaml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use barge_api::{Bases, GatePolicy};
use barge_engine_kube::NamespacePattern;
use barge_image::Reference;
use barge_model::EnvironmentName;
use serde::{Deserialize, Deserializer};

use crate::failure::{Failure, Kind};
use crate::project::SCRATCH;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

const NONE: &str = "environments: there is none; hint: environments: [{name: local}]";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigurationError {
    #[error("read the configuration {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration {path} has more than {LARGEST} bytes")]
    Large { path: PathBuf },
    #[error("{path}: {what}")]
    Understand { path: PathBuf, what: String },
}

impl From<ConfigurationError> for Failure {
    fn from(error: ConfigurationError) -> Self {
        let failure = Failure::from_error(Kind::Usage, &error);
        match &error {
            ConfigurationError::Read { .. } => failure,
            _ => failure.hint("docs/environments.md has an example"),
        }
    }
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    environments: Vec<EnvironmentConfig>,
}

/// One environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvironmentConfig {
    /// Its name.
    pub(crate) name: EnvironmentName,
    /// Who has to approve releases there.
    #[serde(default)]
    pub(crate) gate: GatePolicy,
    /// What images are built on where their projects name no base.
    #[serde(default)]
    pub(crate) bases: Bases,
    /// The cluster that runs its instances; without one it is this machine.
    #[serde(default)]
    pub(crate) kubernetes: Option<KubernetesConfig>,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KubernetesConfig {
    /// The kubeconfig; without one `$KUBECONFIG`, `~/.kube/config`, or what a pod is given.
    #[serde(default)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Its context; without one its current one.
    #[serde(default)]
    pub(crate) context: Option<String>,
    /// Where services are, such as `barge-{environment}`.
    #[serde(default, deserialize_with = "from_text")]
    pub(crate) namespace: NamespacePattern,
    /// What its nodes call the registry of this platform, as HOST:PORT. Without it, images have to be in a registry that has one name everywhere.
    #[serde(default)]
    pub(crate) pulls_from: Option<String>,
    /// Where images are pushed instead of the registry of this platform, as HOST:PORT.
    #[serde(default)]
    pub(crate) registry: Option<String>,
    /// Where its gateway answers, as HOST:PORT.
    #[serde(default)]
    pub(crate) gateway: Option<String>,
    /// The domain of its gateway: services are at SERVICE.ENVIRONMENT.DOMAIN.
    #[serde(default = "localhost")]
    pub(crate) domain: String,
}

impl EnvironmentConfig {
    /// An environment on this machine.
    pub(crate) fn here(name: EnvironmentName) -> Self {
        Self { name, gate: GatePolicy::default(), bases: Bases::default(), kubernetes: None }
    }
}

/// Reads the environments of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<EnvironmentConfig>, ConfigurationError> {
    let fail = |source| ConfigurationError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(fail)?.len() > LARGEST {
        return Err(ConfigurationError::Large { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    parse(&text).map_err(|what| ConfigurationError::Understand { path: path.to_owned(), what })
}

fn parse(text: &str) -> Result<Vec<EnvironmentConfig>, String> {
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if !text.lines().any(says) {
        return Err(NONE.to_owned());
    }
    let configuration: Configuration = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let environments = configuration.environments;
    let mut names = BTreeSet::new();
    for environment in &environments {
        if !names.insert(&environment.name) {
            return Err(format!("environments: {} is there twice", environment.name));
        }
        check_bases(&environment.name, &environment.bases)?;
        if let Some(kubernetes) = &environment.kubernetes
            && kubernetes.pulls_from.is_some()
            && kubernetes.registry.is_some()
        {
            let name = &environment.name;
            return Err(format!(
                "environments: {name}: pulls_from is a name of the registry of this platform, and registry is another one"
            ));
        }
    }
    match environments.is_empty() {
        true => Err(NONE.to_owned()),
        false => Ok(environments),
    }
}

/// Bases are looked for by those who build, wherever they are: an OCI layout on the disk of this machine would be none of theirs.
fn check_bases(environment: &EnvironmentName, bases: &Bases) -> Result<(), String> {
    for (what, base) in [("files", &bases.files), ("java", &bases.java), ("tomcat", &bases.tomcat)] {
        if let Some(base) = base.as_ref().filter(|base| *base != SCRATCH) {
            base.parse::<Reference>()
                .map_err(|error| format!("environments: {environment}: bases: {what}: {error}"))?;
        }
    }
    Ok(())
}

fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn localhost() -> String {
    "localhost".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn environments_are_on_this_machine_or_on_a_cluster() {
        let all = parse(
            "environments:
- name: local
- name: product
  gate: second_person
  bases: {java: 'registry.example/java:21'}
  kubernetes: {context: product, namespace: 'shop-{environment}', pulls_from: 10.0.0.1:7401, gateway: 10.0.0.2:80, domain: example.com}
",
        )
        .unwrap();
        assert_eq!(all[0], EnvironmentConfig::here("local".parse().unwrap()));
        let product = all[1].kubernetes.as_ref().unwrap();
        assert_eq!(all[1].gate, GatePolicy::SecondPerson);
        assert_eq!(all[1].bases.java.as_deref(), Some("registry.example/java:21"));
        assert_eq!(product.namespace.of(&all[1].name), "shop-product");
        assert_eq!((product.context.as_deref(), product.kubeconfig.as_deref()), (Some("product"), None));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, expected) in [
            ("environments: []", "there is none"),
            ("", "there is none"),
            ("# nothing\n", "there is none"),
            ("environments: [{name: a}, {name: a}]", "a is there twice"),
            ("environments: [{name: Test}]", "lower-case"),
            ("environments: [{name: a, gates: plan}]", "gates"),
            ("environments: [{name: a, gate: nobody}]", "nobody"),
            ("environments: [{name: a, bases: {java: 'java:21'}}]", "a: bases: java: \"java:21\" is not a reference"),
            ("environments: [{name: a, bases: {jetty: r.example/jetty}}]", "jetty"),
            ("environments: [{name: a, kubernetes: {namespace: 'A-{environment}'}}]", "makes no names of namespaces"),
            ("environments: [{name: a, kubernetes: {registry: r, pulls_from: p}}]", "another one"),
            ("environment: [{name: a}]", "environment"),
            ("- a\n- b", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
