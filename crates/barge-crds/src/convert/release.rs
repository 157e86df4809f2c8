//! Releases: the parts that mean the same, each by its name.

use std::collections::BTreeMap;

use barge_model::manifest::{Drain, EnvValue, Kind, Resources, ServiceConfig};
use barge_model::release::check_image;
use barge_model::rollout::{Batch, Gate, RolloutPlan, Until};
use barge_model::{Millis, Origin, Release};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Nonsense, name};
use crate::spec::{
    BatchSpec, DrainSpec, EnvSource, GateSpec, OriginKind, OriginSpec, ReleaseSpec, ResourcesSpec, RolloutPlanSpec,
    UntilSpec,
};
use crate::values::{Span, from_count, from_cpu, from_memory, from_time, to_count, to_cpu, to_memory, to_time};

/// Kubernetes' own work around an end, beside drain and grace.
const MARGIN: Millis = Millis::from_secs(10);

/// The release that a specification says.
///
/// # Errors
/// The first part that makes no sense.
pub fn resolve(spec: &ReleaseSpec, kind: Kind) -> Result<Release, Nonsense> {
    check_image(&spec.image).map_err(|error| Nonsense::at("spec.release.image", error))?;
    let id = name("spec.release.id", spec.id.parse())?;
    let config = ServiceConfig {
        kind,
        command: spec.command.clone(),
        healthcheck: spec.healthcheck.clone(),
        templates: spec.templates.clone(),
        replicas: None,
        env: spec.env.iter().map(variable).collect::<Result<_, _>>()?,
        resources: resources(&spec.resources)?,
        rollout: plan(&spec.rollout)?,
        drain: drain(&spec.drain)?,
        start_deadline: span("spec.release.startDeadline", &spec.start_deadline)?,
    };
    // What the server would refuse is no better when somebody else has written it.
    config.check().map_err(|error| Nonsense::at("spec.release", error))?;
    Ok(Release {
        id,
        image: spec.image.clone(),
        digest: name("spec.release.digest", spec.digest.parse())?,
        config,
        origin: origin(&spec.origin)?,
        created_at: to_time(&spec.created_at),
        created_by: spec.created_by.clone(),
        reason: spec.reason.clone(),
    })
}

fn span(path: &str, span: &Span) -> Result<Millis, Nonsense> {
    span.millis().ok_or_else(|| Nonsense::at(path, format!("{:?} is no span of time such as 90s or 1h30m", span.0)))
}

fn variable((name, source): (&String, &EnvSource)) -> Result<(String, EnvValue), Nonsense> {
    let path = || format!("spec.release.env.{name}");
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Nonsense::at(path(), "no process can have a variable with such a name"));
    }
    let value = match (&source.value, &source.secret) {
        (Some(value), None) if value.contains('\0') => return Err(Nonsense::at(path(), "it has a NUL")),
        (Some(value), None) => EnvValue::Text(value.clone()),
        (None, Some(secret)) => EnvValue::Secret { secret: secret.clone() },
        _ => return Err(Nonsense::at(path(), "a variable has either a value or a secret")),
    };
    Ok((name.clone(), value))
}

fn resources(spec: &ResourcesSpec) -> Result<Resources, Nonsense> {
    let path = |field: &str| format!("spec.release.resources.{field}");
    let cpu = spec.cpu.as_ref().map(|cpu| {
        to_cpu(cpu).ok_or_else(|| Nonsense::at(path("cpu"), format!("{:?} is no number of cores such as 500m", cpu.0)))
    });
    let memory = spec.memory.as_ref().map(|memory| {
        let why = || format!("{:?} is no amount of memory such as 512Mi", memory.0);
        to_memory(memory).ok_or_else(|| Nonsense::at(path("memory"), why()))
    });
    Ok(Resources { cpu: cpu.transpose()?, memory: memory.transpose()? })
}

fn plan(spec: &RolloutPlanSpec) -> Result<RolloutPlan, Nonsense> {
    let path = |field: &str| format!("spec.release.rollout.{field}");
    let count = |field: &str, value: &IntOrString| {
        to_count(value)
            .ok_or_else(|| Nonsense::at(path(field), "neither a number of instances nor a share such as 25%"))
    };
    let batch = |batch: &BatchSpec| {
        let pause = batch.pause.as_ref().map(|pause| span(&path("batches"), pause));
        Ok::<_, Nonsense>(Batch { size: count("batches", &batch.size)?, pause: pause.transpose()? })
    };
    let hold = spec.gate.hold.as_ref().map(|hold| span(&path("gate.for"), hold));
    let plan = RolloutPlan {
        first_batch: u32::try_from(spec.first_batch).map_err(|error| Nonsense::at(path("firstBatch"), error))?,
        gate: Gate { until: spec.gate.until.map(|UntilSpec::Approved| Until::Approved), hold: hold.transpose()? },
        batches: spec.batches.iter().map(batch).collect::<Result<_, _>>()?,
        max_surge: count("maxSurge", &spec.max_surge)?,
        max_unavailable: count("maxUnavailable", &spec.max_unavailable)?,
        progress_deadline: span(&path("progressDeadline"), &spec.progress_deadline)?,
    };
    plan.check().map_err(|why| Nonsense::at("spec.release.rollout", why))?;
    Ok(plan)
}

fn drain(spec: &DrainSpec) -> Result<Drain, Nonsense> {
    Ok(Drain {
        quiet: span("spec.release.drain.quiet", &spec.quiet)?,
        limit: span("spec.release.drain.limit", &spec.limit)?,
        grace: span("spec.release.drain.grace", &spec.grace)?,
    })
}

fn origin(spec: &OriginSpec) -> Result<Origin, Nonsense> {
    let earlier = || {
        let id = spec.release.as_deref().unwrap_or_default();
        name("spec.release.origin.release", id.parse())
    };
    Ok(match spec.kind {
        OriginKind::Deploy => Origin::Deploy,
        OriginKind::Rollback => Origin::Rollback { to: earlier()? },
        OriginKind::Restart => Origin::Restart { of: earlier()? },
    })
}

impl From<&Release> for ReleaseSpec {
    fn from(release: &Release) -> Self {
        let config = &release.config;
        let grace = config.drain.limit.0.saturating_add(config.drain.grace.0).saturating_add(MARGIN.0);
        Self {
            id: release.id.to_string(),
            image: release.image.clone(),
            digest: release.digest.to_string(),
            command: config.command.clone(),
            healthcheck: config.healthcheck.clone(),
            templates: config.templates.clone(),
            env: config.env.iter().map(|(name, value)| (name.clone(), value.into())).collect::<BTreeMap<_, _>>(),
            resources: ResourcesSpec {
                cpu: config.resources.cpu.map(from_cpu),
                memory: config.resources.memory.map(from_memory),
            },
            rollout: (&config.rollout).into(),
            drain: (&config.drain).into(),
            termination_grace_period_seconds: i64::try_from(grace.div_ceil(1000)).unwrap_or(i64::MAX),
            start_deadline: config.start_deadline.into(),
            origin: (&release.origin).into(),
            created_at: from_time(release.created_at),
            created_by: release.created_by.clone(),
            reason: release.reason.clone(),
        }
    }
}

impl From<&EnvValue> for EnvSource {
    fn from(value: &EnvValue) -> Self {
        match value {
            EnvValue::Text(text) => Self { value: Some(text.clone()), secret: None },
            EnvValue::Secret { secret } => Self { value: None, secret: Some(secret.clone()) },
        }
    }
}

impl From<&RolloutPlan> for RolloutPlanSpec {
    fn from(plan: &RolloutPlan) -> Self {
        let batch = |batch: &Batch| BatchSpec { size: from_count(batch.size), pause: batch.pause.map(Into::into) };
        Self {
            first_batch: i32::try_from(plan.first_batch).unwrap_or(i32::MAX),
            gate: GateSpec {
                until: plan.gate.until.map(|Until::Approved| UntilSpec::Approved),
                hold: plan.gate.hold.map(Into::into),
            },
            batches: plan.batches.iter().map(batch).collect(),
            max_surge: from_count(plan.max_surge),
            max_unavailable: from_count(plan.max_unavailable),
            progress_deadline: plan.progress_deadline.into(),
        }
    }
}

impl From<&Drain> for DrainSpec {
    fn from(drain: &Drain) -> Self {
        Self { quiet: drain.quiet.into(), limit: drain.limit.into(), grace: drain.grace.into() }
    }
}

impl From<&Origin> for OriginSpec {
    fn from(origin: &Origin) -> Self {
        let (kind, release) = match origin {
            Origin::Deploy => (OriginKind::Deploy, None),
            Origin::Rollback { to } => (OriginKind::Rollback, Some(to.to_string())),
            Origin::Restart { of } => (OriginKind::Restart, Some(of.to_string())),
        };
        Self { kind, release }
    }
}
