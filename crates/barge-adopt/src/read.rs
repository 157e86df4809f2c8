//! From a Deployment to the service in its place. Pure.

use std::collections::BTreeSet;

use barge_crds::names;
use barge_crds::spec::PodsSpec;
use barge_model::Millis;
use barge_model::manifest::{Count, Drain, EnvValue, Kind, ServiceConfig};
use barge_model::rollout::{Batch, RolloutPlan};
use k8s_openapi::api::core::v1::Container;
use kube::ResourceExt;

use crate::command::{plain, words};
use crate::environment::variables;
use crate::losses::losses;
use crate::pods::{self, callers};
use crate::resources::resources;
use crate::{Loss, Refusal, Runtime, Source};

/// After the gate a quarter of the instances follows at a time: so much of the Deployment goes with each.
const BATCHES: [Count; 3] = [Count::Percent(25); 3];
/// What a pod may take to end unless it says otherwise.
const GRACE: i64 = 30;

/// What a person says, in the place of what the Deployment says.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The container that is the service.
    pub container: Option<String>,
    /// The program and its arguments.
    pub command: Option<Vec<String>>,
    /// The path of the readiness check.
    pub healthcheck: Option<String>,
    /// Where the service listens.
    pub port: Option<u16>,
    /// What it is to its callers.
    pub kind: Option<Kind>,
}

/// What the service has to be.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its configuration.
    pub config: ServiceConfig,
    /// How many instances.
    pub replicas: u32,
    /// What callers know its pods by.
    pub pods: PodsSpec,
    /// The Services that send to them.
    pub callers: Vec<String>,
    /// What is not carried over, unless a person agrees.
    pub losses: Vec<Loss>,
    /// What is otherwise from now on, by design.
    pub notes: Vec<String>,
}

/// Reads a Deployment. `runtime` is what its image says, where that was asked.
///
/// # Errors
/// Something stands in the way that nobody can agree to.
pub fn read(source: &Source, asked: &Asked, runtime: Option<&Runtime>) -> Result<Reading, Refusal> {
    refuse_others(source)?;
    let container = source.container(asked.container.as_deref())?;
    let (callers, template) = (callers(source), source.template());
    let port = pods::port(&container, &callers, asked.port)?;
    let (env, of_env) = variables(&container, port);
    let (resources, of_resources) = resources(&container);
    let own = ["HOST", "PORT", "SERVER_PORT"].into_iter();
    let names: BTreeSet<&str> = env.keys().map(String::as_str).chain(own).collect();
    let command = match &asked.command {
        Some(words) => words.iter().map(|word| plain(word)).collect(),
        None => words(&container, runtime, &names)?,
    };
    let grace = template.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(GRACE);
    let config = ServiceConfig {
        kind: asked.kind.unwrap_or(Kind::Web),
        command,
        healthcheck: asked.healthcheck.clone().or_else(|| path(&container)),
        templates: Vec::new(),
        replicas: None,
        env,
        resources,
        rollout: RolloutPlan {
            batches: BATCHES.map(|size| Batch { size, pause: None }).into(),
            ..RolloutPlan::default()
        },
        drain: Drain { grace: Millis::from_secs(u64::try_from(grace).unwrap_or(0)), ..Drain::default() },
        start_deadline: Millis::from_secs(300),
    };
    let replicas = source.deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let notes = notes(source, &container, &config, callers.is_empty());
    Ok(Reading {
        replicas: u32::try_from(replicas).unwrap_or(1),
        pods: pods::pods(&container, source.labels(), port)?,
        callers: pods::names(&callers),
        losses: [of_env, of_resources, losses(&template, &container, port, asked)].concat(),
        notes,
        config,
    })
}

fn refuse_others(source: &Source) -> Result<(), Refusal> {
    let deployment = &source.deployment;
    if let Some(by) = deployment.annotations().get(names::ADOPTED_BY) {
        return Err(Refusal::Adopted(by.clone()));
    }
    let scales = source.autoscalers.iter().find(|autoscaler| {
        let target = autoscaler.spec.as_ref().map(|spec| &spec.scale_target_ref);
        target.is_some_and(|target| target.kind == "Deployment" && target.name == deployment.name_any())
    });
    scales.map_or(Ok(()), |autoscaler| Err(Refusal::Autoscaler(autoscaler.name_any())))
}

/// The path at which it is asked already.
fn path(container: &Container) -> Option<String> {
    let http = container.readiness_probe.as_ref()?.http_get.as_ref()?;
    Some(http.path.clone().unwrap_or_else(|| "/".to_owned()))
}

fn notes(source: &Source, container: &Container, config: &ServiceConfig, unknown: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if container.liveness_probe.is_some() || container.startup_probe.is_some() {
        notes.push(
            "liveness and startup probes are left out: Barge restarts nothing that runs, and holds a start that fails"
                .to_owned(),
        );
    }
    if config.kind == Kind::Web && config.healthcheck.is_none() {
        notes.push("it has no readiness probe: /healthcheck is asked, else any answer below 500 will do".to_owned());
    }
    if config.env.values().any(|value| matches!(value, EnvValue::Secret { .. })) {
        notes.push("its secrets stay where they are, and are read when an instance starts".to_owned());
    }
    if unknown {
        notes.push("no Service sends to it: its instances are found through the gateway alone".to_owned());
    }
    let managed = source.deployment.labels().get("app.kubernetes.io/managed-by");
    if let Some(manager) = managed.filter(|manager| *manager != "barge") {
        notes.push(format!(
            "{manager} manages the Deployment: have it say 0 replicas after the adoption, or its next change brings them back"
        ));
    }
    notes
}
