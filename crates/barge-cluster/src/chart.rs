//! The same objects as a Helm chart, for those who install everything that way: made from what is rendered, with the few settings as values.
//!
//! `charts/barge` is written from here, and a test holds them together. What differs with a setting is rendered both ways.

use std::collections::BTreeMap;

use kube::ResourceExt;

use crate::object::{Object, WriteError, one_yaml};
use crate::objects::render_part;
use crate::settings::{Component, Settings};
use crate::{NAMESPACE, VERSION, token};

/// Stands where a value will be.
const IMAGE: &str = "BARGE-CHART-IMAGE";
const DOMAIN: &str = "BARGE-CHART-DOMAIN";
const SERVICES: &str = "BARGE-CHART-SERVICES";
const SECRET: &str = "BARGE-CHART-SECRET";

const VALUES: &str = "\
# The image of all parts, by digest: `barge cluster image --registry HOST/REPOSITORY` makes it, and prints its name.
image: \"\"
# Secrets for pulling images; each has to be in the namespace of the release and in those of services.
pullSecrets: []
# The only namespace for services; roles are for that one alone then. Empty: any.
servicesNamespace: \"\"
# Services answer at SERVICE.ENVIRONMENT.DOMAIN.
domain: localhost
";

/// The files of the chart, by their paths in it.
///
/// # Errors
/// An object cannot be written down.
pub fn files() -> Result<BTreeMap<String, String>, WriteError> {
    let mut files = BTreeMap::from([
        ("Chart.yaml".to_owned(), description()),
        ("values.yaml".to_owned(), VALUES.to_owned()),
        ("templates/token.yaml".to_owned(), token_template()),
    ]);
    for definition in barge_crds::definitions() {
        let text = one_yaml(&Object::new(&definition)?)?;
        files.insert(format!("crds/{}.yaml", definition.name_any()), text);
    }
    for component in Component::ALL {
        files.insert(format!("templates/{}.yaml", component.name()), template(component)?);
    }
    Ok(files)
}

fn description() -> String {
    format!(
        "apiVersion: v2\nname: barge\ndescription: What services of Barge need on a cluster; the same as `barge cluster install` applies\n\
         type: application\nversion: {VERSION}\nappVersion: \"{VERSION}\"\nkubeVersion: \">=1.30.0-0\"\n"
    )
}

/// Made once, and kept for ever, as `barge cluster install` does it.
fn token_template() -> String {
    format!(
        "{{{{- $there := lookup \"v1\" \"Secret\" .Release.Namespace \"{name}\" }}}}\n\
         apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {{{{ .Release.Namespace }}}}\n  labels:\n    \
         app.kubernetes.io/managed-by: {{{{ .Release.Service }}}}\n    app.kubernetes.io/part-of: barge\n\
         data:\n  {key}: {{{{ if $there }}}}{{{{ index $there.data \"{key}\" }}}}{{{{ else }}}}{{{{ randAlphaNum 48 | b64enc }}}}{{{{ end }}}}\n",
        name = token::SECRET,
        key = token::KEY,
    )
}

fn template(component: Component) -> Result<String, WriteError> {
    let settings = |services: Option<&str>| Settings {
        image: IMAGE.to_owned(),
        architecture: None,
        pull_secrets: vec![SECRET.to_owned()],
        services: services.map(str::to_owned),
        domain: DOMAIN.to_owned(),
    };
    let of_one = render_part(component, &settings(Some(SERVICES)))?;
    let of_all = render_part(component, &settings(None))?;
    let is_in = |object: &Object, others: &[Object]| others.iter().any(|other| other.title() == object.title());
    let mut texts = Vec::new();
    // The namespace of services is an argument of the parts as well, which is dealt with line by line.
    for object in &of_one {
        texts.push(if is_in(object, &of_all) {
            text(object)?
        } else {
            only("{{- if .Values.servicesNamespace }}", object)?
        });
    }
    for object in of_all.iter().filter(|object| !is_in(object, &of_one)) {
        texts.push(only("{{- if not .Values.servicesNamespace }}", object)?);
    }
    Ok(texts.concat())
}

fn only(condition: &str, object: &Object) -> Result<String, WriteError> {
    Ok(format!("{condition}\n{}{{{{- end }}}}\n", text(object)?))
}

fn text(object: &Object) -> Result<String, WriteError> {
    let yaml = one_yaml(object)?;
    let mut lines: Vec<String> = Vec::new();
    let mut rest = yaml.lines().peekable();
    while let Some(line) = rest.next() {
        let (indent, next) = (&line[..line.len() - line.trim_start().len()], rest.peek().copied().unwrap_or_default());
        let around = match (line.trim(), next.trim()) {
            ("- --namespace", value) if value.ends_with(SERVICES) => Some("with .Values.servicesNamespace"),
            ("- --pull-secret", value) if value.ends_with(SECRET) => Some("range .Values.pullSecrets"),
            ("imagePullSecrets:", _) => None,
            _ => {
                lines.push(values(line));
                continue;
            }
        };
        let next = rest.next().unwrap_or_default();
        match around {
            Some(action) => lines.extend([
                format!("{indent}{{{{- {action} }}}}"),
                line.to_owned(),
                format!("{indent}- {{{{ . | quote }}}}"),
                format!("{indent}{{{{- end }}}}"),
            ]),
            None => lines.extend([
                format!("{indent}{{{{- with .Values.pullSecrets }}}}"),
                line.to_owned(),
                format!("{indent}{{{{- range . }}}}"),
                next.replace(SECRET, "{{ . | quote }}"),
                format!("{indent}{{{{- end }}}}"),
                format!("{indent}{{{{- end }}}}"),
            ]),
        }
    }
    Ok(format!("---\n{}\n", lines.join("\n")))
}

fn values(line: &str) -> String {
    line.replace(
        IMAGE,
        "{{ required \"image: barge cluster image --registry HOST/REPOSITORY makes it\" .Values.image | quote }}",
    )
    .replace(DOMAIN, "{{ .Values.domain | quote }}")
    .replace(SERVICES, "{{ .Values.servicesNamespace | quote }}")
    .replace(NAMESPACE, "{{ .Release.Namespace }}")
    .replace("app.kubernetes.io/managed-by: barge", "app.kubernetes.io/managed-by: {{ .Release.Service }}")
}
