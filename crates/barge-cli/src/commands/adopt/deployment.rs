//! The beginning: what the Deployment is, what of it is lost, and the service that is made of it.

use barge_adopt::{Loss, Reading, Refusal, Running, ServiceError, Source, adopt, read, running, spec};
use barge_crds::ServiceSpec;
use barge_model::manifest::EnvValue;
use barge_model::{ServiceKey, ServiceName};
use serde::Serialize;

use super::{Args, Place};
use crate::arguments::Globals;
use crate::commands::cluster::connection::failure;
use crate::failure::{Failure, Kind};
use crate::terminal::{Paint, Style};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    namespace: &'a str,
    deployment: &'a str,
    service: &'a ServiceName,
    spec: &'a ServiceSpec,
    services_of_kubernetes: &'a [String],
    lost: &'a [Loss],
    notes: &'a [String],
    state: &'static str,
}

impl Place {
    pub(super) async fn adopt(&self, args: &Args, globals: &Globals) -> Result<(), Failure> {
        let name = &args.deployment;
        let key = ServiceKey::new(self.environment(globals).await?, service(name, globals)?);
        let source = Source::look(&self.client, &self.namespace, name).await.map_err(|error| failure(&error))?;
        let (running, reading) = self.read(args, &source).await?;
        let left: Vec<&Loss> =
            reading.losses.iter().filter(|loss| !args.force && !loss.is_accepted(&args.accept)).collect();
        if !left.is_empty() && !args.dry_run {
            return Err(lost(args, self, &left));
        }
        let service = spec(&key, name, &running, &reading, &self.who().await);
        self.terminal.note(&told(&self.terminal.paint(), args, &running, &reading));
        let made = adopt(
            &self.client,
            &self.namespace,
            (reading.config.kind, key.service.as_str()),
            service.clone(),
            !args.dry_run,
        );
        made.await.map_err(|error| not_made(args, self, &error))?;
        let state = match (args.dry_run, args.no_wait) {
            (true, _) => "dry_run",
            (false, true) => "begun",
            (false, false) => self.until_the_gate(args).await?,
        };
        let answer = Answer {
            namespace: &self.namespace,
            deployment: name,
            service: &key.service,
            spec: &service,
            services_of_kubernetes: &reading.callers,
            lost: &reading.losses,
            notes: &reading.notes,
            state,
        };
        self.terminal.data(&answer, |_| self.next(args, state))
    }

    async fn read(&self, args: &Args, source: &Source) -> Result<(Running, Reading), Failure> {
        let asked = args.asked()?;
        let refused = |refusal: Refusal| {
            Failure::new(Kind::Refused, format!("the Deployment {} cannot be adopted: {refusal}", args.deployment))
                .hint(refusal.hint(&args.deployment))
        };
        let running = running(source, asked.container.as_deref()).map_err(refused)?;
        let runtime = match running.starts_by_itself && asked.command.is_none() {
            true => Some(args.registry.runtime(&running).await?),
            false => None,
        };
        let reading = read(source, &asked, runtime.as_ref()).map_err(refused)?;
        Ok((running, reading))
    }

    fn next(&self, args: &Args, state: &str) -> String {
        let name = &args.deployment;
        match state {
            "dry_run" => "nothing was changed".to_owned(),
            "begun" => format!("one instance of the service starts beside the Deployment {name}"),
            "complete" => format!("the service has the place of the Deployment {name}"),
            _ => format!(
                "one instance of the service serves beside the Deployment {name}\n\
                 It is good:      {}\n\
                 It is not good:  {}",
                args.again(self, "--approve"),
                args.again(self, "--undo")
            ),
        }
    }
}

/// What the service is called.
fn service(deployment: &str, globals: &Globals) -> Result<ServiceName, Failure> {
    if let Some(said) = &globals.service {
        return Ok(said.clone());
    }
    deployment.parse().map_err(|error| {
        Failure::from_error(Kind::Usage, &error)
            .context(&format!("call the service as the Deployment {deployment}"))
            .hint("give it a name of its own with --service NAME")
    })
}

fn lost(args: &Args, place: &Place, left: &[&Loss]) -> Failure {
    let accept: Vec<String> = left.iter().map(|loss| format!("--accept {}", loss.name)).collect();
    let count = if left.len() == 1 { "a part".to_owned() } else { format!("{} parts", left.len()) };
    let what = format!("the Deployment {} has {count} that would be lost", args.deployment);
    Failure::new(Kind::Refused, what)
        .details(left.iter().map(|loss| format!("  {:<20} {}", loss.name, loss.what)).collect())
        .data("lost", &left)
        .hint(format!("`{}` goes on without", args.again(place, &accept.join(" "))))
}

fn not_made(args: &Args, place: &Place, error: &ServiceError) -> Failure {
    match error {
        ServiceError::Exists { kind, name } => {
            let hint = format!(
                "`kubectl describe {kind} {name} -n {}` shows it; --service gives another name",
                place.namespace
            );
            Failure::from_error(Kind::Refused, error)
                .context(&format!("adopt the Deployment {}", args.deployment))
                .hint(hint)
        }
        error => failure(error),
    }
}

fn told(paint: &Paint, args: &Args, running: &Running, reading: &Reading) -> String {
    let config = &reading.config;
    let secrets = config.env.values().filter(|value| matches!(value, EnvValue::Secret { .. })).count();
    let limits = [
        config.resources.cpu.map(|cpu| format!("{cpu} of CPU")),
        config.resources.memory.map(|memory| format!("{memory} of memory")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let callers = if reading.callers.is_empty() { "nobody".to_owned() } else { reading.callers.join(", ") };
    let mut lines = vec![
        format!("the Deployment {} runs {}@{}", args.deployment, running.image, running.digest),
        format!("  instances    {}", reading.replicas),
        format!("  command      {}", config.command.join(" ")),
        format!("  port         {}", reading.pods.port.unwrap_or_default()),
        format!("  healthcheck  {}", config.healthcheck.as_deref().unwrap_or("/healthcheck, else any answer")),
        format!("  variables    {}, {secrets} of them secrets", config.env.len()),
        format!("  limits       {}", if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }),
        format!("  called by    {callers}"),
    ];
    lines.extend(
        reading.losses.iter().map(|loss| paint.paint(Style::Yellow, &format!("lost: {} ({})", loss.what, loss.name))),
    );
    lines.extend(reading.notes.iter().map(|note| paint.paint(Style::Dim, &format!("note: {note}"))));
    lines.join("\n")
}
