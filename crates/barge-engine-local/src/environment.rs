//! The environment of an instance's process: what the project says, what the platform adds, and secrets looked up at the last moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use barge_model::manifest::EnvValue;
use barge_model::{Release, ServiceKey};

use crate::store::Record;

/// Why an environment cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("look up the secret {name:?} for the variable {variable}; put its value into the file {path}")]
    Secret { variable: String, name: String, path: PathBuf, source: std::io::Error },
}

/// Variables of the platform's own environment that processes may need to find their tools.
const INHERITED: [&str; 6] = ["PATH", "LANG", "LC_ALL", "TZ", "JAVA_HOME", "TMPDIR"];

/// Makes the environment of one instance.
pub(crate) fn make(
    key: &ServiceKey,
    release: &Release,
    record: &Record,
    home: &Path,
    secrets: &Path,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let mut env: BTreeMap<String, String> =
        INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    env.entry("PATH".to_owned())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    for (variable, value) in &release.config.env {
        let value = match value {
            EnvValue::Text(text) => text.clone(),
            EnvValue::Secret { secret } => read_secret(key, variable, secret, secrets)?,
        };
        env.insert(variable.clone(), value);
    }
    let own = [
        ("HOME", home.display().to_string()),
        ("HOST", record.host.clone()),
        ("PORT", record.port.to_string()),
        ("SERVER_PORT", record.port.to_string()),
        ("BARGE_SERVICE", key.service.to_string()),
        ("BARGE_ENVIRONMENT", key.environment.to_string()),
        ("BARGE_INSTANCE", record.id.to_string()),
        ("BARGE_RELEASE", release.id.to_string()),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Ok(env)
}

fn read_secret(key: &ServiceKey, variable: &str, name: &str, secrets: &Path) -> Result<String, EnvironmentError> {
    let path = secrets.join(key.environment.as_str()).join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
        Err(source) => {
            Err(EnvironmentError::Secret { variable: variable.to_owned(), name: name.to_owned(), path, source })
        }
    }
}
