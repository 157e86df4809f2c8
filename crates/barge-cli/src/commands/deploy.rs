//! `barge deploy`: build, push, release, and stay until the gate, the end or the failure.

use std::path::PathBuf;

use barge_api::{EnvironmentView, NewRelease, ReleaseView, ServiceStatus};
use barge_model::Digest;
use barge_model::manifest::ServiceConfig;

use super::build::{Built, build_image, push, reference, registry_client, show};
use super::unless_interrupted;
use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::follow::{Attach, Left, Outline, conclude, follow};
use crate::project::Project;
use crate::session::{Session, Target, change};
use crate::terminal::{Style, Terminal};

const EXAMPLES: &str = "\
The release starts ONE instance. When it answers its readiness check and gets traffic, the gate closes: the \
command ends, and the release waits until somebody says `barge approve` (the remaining instances follow) or \
`barge abort` (it is taken back). An instance that cannot start is kept and explained; what served before goes \
on serving. When nothing has changed since the release that runs, no new one is made.

Examples:
  barge deploy                              up to the gate
  barge deploy --reason 'new checkout'      with a reason in the history
  barge deploy -e product --wait complete   stay until all instances run it, through the approval
  barge deploy --supersede                  take the place of a release that is still on its way
  barge deploy --detach --json              for a pipeline that asks `barge status` later";

/// Build, push and release the project: one instance first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The project's directory, or one below it
    directory: Option<PathBuf>,
    #[command(flatten)]
    attach: Attach,
    /// Why; shown in the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Take the place of a release that is on its way
    #[arg(long)]
    supersede: bool,
    /// Release even if the same runs already
    #[arg(long)]
    force: bool,
}

/// What a deploy needs to know and to make before it can release.
struct Prepared {
    target: Target,
    environment: EnvironmentView,
    built: Built,
    config: ServiceConfig,
    digest: Digest,
    client: barge_image::Client,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let (target, begun) = unless_interrupted(begin(&args, globals, &terminal)).await?;
    let (release, first) = match begun {
        Begun::Unchanged(outline) => return conclude(&target, &outline, &terminal),
        Begun::Release { release, first } => (release, first),
    };
    let outline = follow(&target, *release, &args.attach, None, &terminal).await?;
    let undo = (outline.result == Left::Complete && !first).then(|| target.command("rollback"));
    conclude(&target, &Outline { undo, ..outline }, &terminal)
}

/// What came of the first half of a deploy.
enum Begun {
    /// The same runs already.
    Unchanged(Box<Outline>),
    /// There is a release to follow.
    Release {
        release: Box<ReleaseView>,
        /// Nothing ran before it.
        first: bool,
    },
}

async fn begin(args: &Args, globals: &Globals, terminal: &Terminal) -> Result<(Target, Begun), Failure> {
    let project = Project::require(args.directory.as_deref())?;
    let name = &project.manifest.name;
    if let Some(other) = globals.service.as_ref().filter(|other| *other != name) {
        let what = format!("{} is the project of {name}, not of {other}", project.directory.display());
        return Err(Failure::new(Kind::Usage, what).hint("leave -m away: the name in barge.yaml is the service's"));
    }
    let activity = terminal.activity();
    let (prepared, status) = prepare(&project, globals, terminal, &activity).await?;
    let now = Standing::of(&prepared.target, status).await?;
    let first = now.stable.is_none();
    if !args.force
        && let Some(same) = now.same(&prepared)
    {
        return Ok(match same {
            Same::Stable(release) => {
                let status = now.status.clone();
                let outline = Outline { result: Left::Unchanged, release: release.clone(), status, undo: None };
                (prepared.target, Begun::Unchanged(Box::new(outline)))
            }
            Same::Candidate(release) => {
                activity
                    .line(Style::Plain, &format!("release {} with exactly this is on its way already", release.number));
                (prepared.target, Begun::Release { release: Box::new(release.clone()), first })
            }
        });
    }
    if let Some(candidate) = now.candidate.as_ref().filter(|_| !args.supersede) {
        return Err(on_its_way(&prepared.target, candidate, now.status.as_ref()));
    }
    let release = release(&prepared, args, &activity).await?;
    Ok((prepared.target, Begun::Release { release: Box::new(release), first }))
}

/// Builds while the server is asked how the service stands.
async fn prepare(
    project: &Project,
    globals: &Globals,
    terminal: &Terminal,
    activity: &crate::terminal::Activity,
) -> Result<(Prepared, Option<ServiceStatus>), Failure> {
    let session = Session::open(globals, terminal)?;
    let environment = session.environment().await?;
    let client = registry_client(&environment.registry, &session.token)?;
    let service = project.manifest.name.clone();
    let target = Target { session, environment: environment.name.clone(), service };
    let status = async {
        match target.status().await {
            Ok(status) => Ok(Some(status)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    };
    let sink = |event| show(activity, event);
    let (built, status) =
        tokio::try_join!(build_image(project, Some(&environment), Some(&client), false, &sink), status)?;
    let config = project.configuration(&environment.name, built.command.clone())?;
    let digest = Digest::new(built.digest())
        .map_err(|error| Failure::from_error(Kind::General, &error).context("understand the image's digest"))?;
    Ok((Prepared { target, environment, built, config, digest, client }, status))
}

/// How the service stands before the deploy.
struct Standing {
    status: Option<ServiceStatus>,
    stable: Option<ReleaseView>,
    candidate: Option<ReleaseView>,
}

enum Same<'a> {
    Stable(&'a ReleaseView),
    Candidate(&'a ReleaseView),
}

impl Standing {
    async fn of(target: &Target, status: Option<ServiceStatus>) -> Result<Self, Failure> {
        let stable = status.as_ref().and_then(|status| status.stable.clone());
        let candidate = status.as_ref().and_then(|status| status.candidate.as_ref().map(|view| view.release.clone()));
        let fetch = async |id: Option<barge_model::ReleaseId>| match id {
            Some(id) => target.release(&id).await.map(Some),
            None => Ok(None),
        };
        let (stable, candidate) = tokio::try_join!(fetch(stable), fetch(candidate))?;
        Ok(Self { status, stable, candidate })
    }

    /// The release with the same image and configuration, if it is the one that counts.
    fn same(&self, prepared: &Prepared) -> Option<Same<'_>> {
        let equal = |view: &&ReleaseView| view.digest == prepared.digest && view.config == prepared.config;
        match &self.candidate {
            Some(candidate) => Some(candidate).filter(equal).map(Same::Candidate),
            None => self.stable.as_ref().filter(equal).map(Same::Stable),
        }
    }
}

fn on_its_way(target: &Target, candidate: &ReleaseView, status: Option<&ServiceStatus>) -> Failure {
    let sentence = status.map(|status| format!(": {}", status.sentence)).unwrap_or_default();
    Failure::new(Kind::Refused, format!("release {} of {target} is still on its way{sentence}", candidate.number)).hint(
        format!(
            "`{}` lets it go on, `{}` takes it back, `{}` takes its place",
            target.command("approve"),
            target.command("abort"),
            target.command("deploy --supersede")
        ),
    )
}

/// Pushes and releases.
async fn release(
    prepared: &Prepared,
    args: &Args,
    activity: &crate::terminal::Activity,
) -> Result<ReleaseView, Failure> {
    let Prepared { target, environment, built, config, digest, client } = prepared;
    let reference = reference(&environment.registry, &target.service, digest.as_str())?;
    push(built, &reference, client, &|event| show(activity, event)).await?;
    let request = NewRelease {
        image: reference.name(),
        digest: digest.clone(),
        config: config.clone(),
        reason: args.reason.clone(),
        supersede: args.supersede,
    };
    let call = async |key: &str| target.client().new_release(&target.environment, &target.service, &request, key).await;
    let answer = change(call).await?;
    let Some(id) = answer.release else {
        return Err(Failure::new(Kind::General, format!("the server made no release: {}", answer.message)));
    };
    let view = target.release(&id).await?;
    activity.line(Style::Bold, &format!("release {} of {target} ({})", view.number, digest.short()));
    Ok(view)
}
