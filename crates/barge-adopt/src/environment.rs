//! Environment variables: values and secrets go along, and what Kubernetes fills in otherwise does not.

use std::collections::BTreeMap;

use barge_model::manifest::EnvValue;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, SecretKeySelector};

use crate::Loss;
use crate::command::{Part, references};

/// What Barge says itself, and what it says there for a service that listens on a port.
fn of_barge(name: &str, port: u16) -> Option<String> {
    match name {
        "HOST" => Some("0.0.0.0".to_owned()),
        "PORT" | "SERVER_PORT" => Some(port.to_string()),
        _ => None,
    }
}

/// The variables of a container that listens on `port`, and what is lost of them.
pub(crate) fn variables(container: &Container, port: u16) -> (BTreeMap<String, EnvValue>, Vec<Loss>) {
    let (mut variables, mut losses) = (BTreeMap::new(), Vec::new());
    for variable in container.env.iter().flatten() {
        let name = variable.name.as_str();
        let lost = |what: String| Loss::new(format!("env.{name}"), what);
        let value = match &variable.value_from {
            Some(source) => from(source).map_err(|what| lost(format!("{name} {what}"))),
            None => text(variable.value.as_deref().unwrap_or_default(), &variables)
                .map_err(|secret| lost(format!("{name} has the secret {secret} within its value"))),
        };
        let value = match (value, of_barge(name, port)) {
            (Ok(EnvValue::Text(text)), Some(ours)) if text == ours => continue,
            (_, Some(ours)) => Err(lost(format!("{name} is something else than {ours}, which Barge says itself"))),
            (value, None) => value,
        };
        match value {
            Ok(value) => drop(variables.insert(name.to_owned(), value)),
            Err(loss) => losses.push(loss),
        }
    }
    if container.env_from.as_ref().is_some_and(|all| !all.is_empty()) {
        let sources: Vec<String> = container
            .env_from
            .iter()
            .flatten()
            .map(|source| {
                let map = source.config_map_ref.as_ref().map(|map| format!("the ConfigMap {}", map.name));
                let secret = source.secret_ref.as_ref().map(|secret| format!("the Secret {}", secret.name));
                map.or(secret).unwrap_or_default()
            })
            .collect();
        losses.push(Loss::new("envFrom", format!("variables come from all of {}", sources.join(", "))));
    }
    (variables, losses)
}

fn from(source: &EnvVarSource) -> Result<EnvValue, String> {
    match source {
        EnvVarSource { secret_key_ref: Some(secret), .. } => of_secret(secret),
        EnvVarSource { config_map_key_ref: Some(map), .. } => {
            Err(format!("comes from {} in the ConfigMap {}", map.key, map.name))
        }
        EnvVarSource { field_ref: Some(field), .. } => Err(format!("comes from the pod's {}", field.field_path)),
        EnvVarSource { resource_field_ref: Some(field), .. } => Err(format!("comes from the pod's {}", field.resource)),
        _ => Err("comes from somewhere that Barge does not know".to_owned()),
    }
}

/// The key `value` is the one that goes without saying.
fn of_secret(secret: &SecretKeySelector) -> Result<EnvValue, String> {
    if secret.optional == Some(true) {
        return Err(format!("may do without {} in the Secret {}", secret.key, secret.name));
    }
    let secret = match secret.key.as_str() {
        "value" => secret.name.clone(),
        key => format!("{}/{key}", secret.name),
    };
    Ok(EnvValue::Secret { secret })
}

/// The text as Kubernetes fills it with variables that come before; the name of one that is a secret, where it has such a one.
fn text(text: &str, before: &BTreeMap<String, EnvValue>) -> Result<EnvValue, String> {
    let mut out = String::new();
    for part in references(text) {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Name(name) => match before.get(name) {
                Some(EnvValue::Text(value)) => out.push_str(value),
                Some(EnvValue::Secret { .. }) => return Err(name.to_owned()),
                None => out.push_str(&format!("$({name})")),
            },
        }
    }
    Ok(EnvValue::Text(out))
}
