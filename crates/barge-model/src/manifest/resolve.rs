//! From a manifest to the configuration of one environment: common part, overlay, defaults, limits.

use super::{Command, EnvValue, MAX_REPLICAS, Manifest, Resources, ServiceConfig};
use crate::ids::EnvironmentName;
use crate::time::Millis;

/// Why a manifest has no meaning in an environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Neither written nor found.
    #[error("there is no command that starts the service")]
    NoCommand,
    /// A word that no program can be given.
    #[error("the command's word {0:?} has a zero byte, which no program can be given")]
    CommandWord(String),
    /// More instances than are allowed.
    #[error("replicas is {0}; at most {MAX_REPLICAS} are allowed")]
    TooManyReplicas(u32),
    /// A name that no process can have in its environment.
    #[error(
        "{0:?} cannot be the name of an environment variable: letters, digits and '_' only, not starting with a digit"
    )]
    VariableName(String),
    /// A name that no secret has.
    #[error(
        "the secret of {variable}, {secret:?}, is not a secret's name: NAME or NAME/KEY, of letters, digits, '-', '_' and '.'"
    )]
    SecretName {
        /// The variable that refers to it.
        variable: String,
        /// The name as given.
        secret: String,
    },
    /// A value that no process can have in its environment.
    #[error("the value of {0} has a zero byte, which no environment variable can have")]
    VariableValue(String),
    /// A variable that the platform sets itself.
    #[error("the variable {0} is set by Barge and cannot be given in env")]
    ReservedVariable(String),
    /// A file name that leaves /app.
    #[error("template {0:?} must be a relative path inside the built files that ends in .template")]
    Template(String),
    /// A path that no HTTP request can have.
    #[error("healthcheck {0:?} must be a path that starts with '/' and has no spaces")]
    Healthcheck(String),
    /// A rollout plan that cannot be carried out.
    #[error("rollout: {0}")]
    Rollout(String),
}

/// Variables that the engine sets for every instance.
const RESERVED: [&str; 3] = ["PORT", "SERVER_PORT", "HOST"];

impl Manifest {
    /// The configuration for `environment`; `detected` is the command to use where the manifest has none.
    ///
    /// # Errors
    /// The first part that has no meaning.
    pub fn resolve(
        &self,
        environment: &EnvironmentName,
        detected: Option<Command>,
    ) -> Result<ServiceConfig, ResolveError> {
        let overlay = self.environments.get(environment).cloned().unwrap_or_default();
        let mut env = self.env.clone();
        env.extend(overlay.env);
        let config = ServiceConfig {
            kind: self.kind,
            command: self.command.clone().or(detected).ok_or(ResolveError::NoCommand)?.0,
            healthcheck: self.healthcheck.clone(),
            templates: self.templates.clone(),
            replicas: overlay.replicas.or(self.replicas),
            env,
            resources: Resources {
                cpu: overlay.resources.cpu.or(self.resources.cpu),
                memory: overlay.resources.memory.or(self.resources.memory),
            },
            rollout: overlay.rollout.unwrap_or_else(|| self.rollout.clone()),
            drain: self.drain.clone(),
            start_deadline: self.start_deadline.unwrap_or(Millis::from_secs(300)),
        };
        config.check()?;
        Ok(config)
    }
}

impl ServiceConfig {
    /// Checks what types alone cannot say. The server calls it on every configuration that comes in from outside.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ResolveError> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(ResolveError::NoCommand);
        }
        if let Some(word) = self.command.iter().find(|word| word.contains('\0')) {
            return Err(ResolveError::CommandWord(word.clone()));
        }
        if let Some(replicas) = self.replicas.filter(|replicas| *replicas > MAX_REPLICAS) {
            return Err(ResolveError::TooManyReplicas(replicas));
        }
        for (name, value) in &self.env {
            check_variable(name, value)?;
        }
        if let Some(path) = &self.healthcheck
            && (!path.starts_with('/') || path.chars().any(|c| c.is_whitespace() || c.is_control()))
        {
            return Err(ResolveError::Healthcheck(path.clone()));
        }
        for template in &self.templates {
            let inside = template.split('/').all(|part| !part.is_empty() && part != "..");
            if !inside || !template.ends_with(".template") || template.contains('\0') {
                return Err(ResolveError::Template(template.clone()));
            }
        }
        self.rollout.check().map_err(ResolveError::Rollout)
    }
}

fn check_variable(name: &str, value: &EnvValue) -> Result<(), ResolveError> {
    let shape = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    let variable = || name.to_owned();
    if !shape {
        return Err(ResolveError::VariableName(variable()));
    }
    if RESERVED.contains(&name) {
        return Err(ResolveError::ReservedVariable(variable()));
    }
    // Both are names of files as well, of which none may begin with a dot.
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let is_name =
        |secret: &str| secret.split_once('/').map_or(is_word(secret), |(name, key)| is_word(name) && is_word(key));
    match value {
        EnvValue::Text(text) if text.contains('\0') => Err(ResolveError::VariableValue(variable())),
        EnvValue::Secret { secret } if !is_name(secret) => {
            Err(ResolveError::SecretName { variable: variable(), secret: secret.clone() })
        }
        _ => Ok(()),
    }
}
