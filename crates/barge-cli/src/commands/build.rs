//! `barge build`: from built files to an image, in a registry or in a file.
//!
//! [`build_image`] and [`push`] print nothing, so that `deploy`, the demo and the tests share them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use barge_api::{Bases, EnvironmentView};
use barge_image::base::Means;
use barge_image::build::{BuildRequest, build_all};
use barge_image::image::Runtime;
use barge_image::registry::{Progress, Pushed};
use barge_image::{Cache, Client, Credentials, Product, Reference, RegistryError, cache, layout};
use barge_model::ServiceName;
use barge_model::host::is_loopback;
use barge_model::manifest::Command;
use serde::Serialize;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::image::statements::{self, Origin};
use crate::image::{self, base, explain};
use crate::places;
use crate::project::Project;
use crate::registries;
use crate::session::Session;
use crate::terminal::{Activity, Style, Terminal, bytes};

/// The name under which a login's token is the password of the platform's own registry.
const REGISTRY_USER: &str = "barge";

const EXAMPLES: &str = "\
What is built: what `build.path` names, else the jar or war that Maven or Gradle made, else dist/, build/, out/, \
public/ or bin/, else a binary with the service's name, else the project's directory itself (without barge.yaml, \
.git, .gitignore and .env). \
The same files give the same digest on every machine. Docker is not needed.

Examples:
  barge build                            push to the environment's registry
  barge build --explain                  what would be built, and why
  barge build --digest                   only say which digest it has
  barge build --sbom shop.cdx.json       write down which libraries it has
  barge build --output oci:image         an OCI layout in the directory image/
  barge build --output tar:greeter.tar   the same in one file, for `skopeo` or `ctr image import`";

/// Make an image of the built files and push it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The project's directory, or one below it
    directory: Option<PathBuf>,
    /// Write files instead of pushing: `oci:DIRECTORY` or `tar:FILE`
    #[arg(short, long, value_name = "WHERE", conflicts_with = "digest")]
    output: Option<Output>,
    /// Build on what the base's tag means now, and write that to barge.lock
    #[arg(long)]
    update: bool,
    /// Only print the image's digest
    #[arg(long)]
    digest: bool,
    /// Write what the image is made of: CycloneDX, or SPDX where the name ends with `.spdx.json`
    #[arg(long, value_name = "FILE", conflicts_with = "explain")]
    sbom: Option<PathBuf>,
    /// Only show what would be built: layers, command, base, and why
    #[arg(long, conflicts_with_all = ["output", "digest"])]
    explain: bool,
}

/// Where an image goes that is not pushed.
#[derive(Debug, Clone)]
enum Output {
    Layout(PathBuf),
    Tar(PathBuf),
}

impl std::str::FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("oci", path)) if !path.is_empty() => Ok(Self::Layout(path.into())),
            Some(("tar", path)) if !path.is_empty() => Ok(Self::Tar(path.into())),
            _ => Err("write it as oci:DIRECTORY or tar:FILE".to_owned()),
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    /// The image's name with its digest, or where it was written.
    reference: Option<String>,
    digest: String,
    /// The size of the layers in bytes.
    size: u64,
    /// Bytes that went over the wire.
    sent: Option<u64>,
}

/// What goes on while an image is built and pushed.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Something that people should know.
    Warning(String),
    /// The base is pinned, as these words say.
    Locked(String),
    /// The build begins with these files.
    Building(PathBuf),
    /// The image is there.
    Built {
        /// Its digest.
        digest: String,
        /// The size of its layers.
        size: u64,
    },
    /// The push to this reference begins.
    Pushing(Reference),
    /// A part of the image is in the registry.
    Part(Progress),
    /// The push is complete.
    Pushed(Pushed),
}

/// Who is told what goes on.
pub(crate) type Sink<'a> = &'a (dyn Fn(Event) + Sync);

/// What was built of a project.
#[derive(Debug)]
pub(crate) struct Built {
    /// The image, or one for each kind of machine.
    pub(crate) product: Product,
    /// What starts the service.
    pub(crate) command: Command,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

impl Built {
    /// The digest of the image, or of the index of several.
    pub(crate) fn digest(&self) -> &str {
        self.product.digest()
    }

    /// The size of the layers in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.product.size()
    }
}

/// Builds the image of a project; `client` is asked for a base that lies in a registry. With `update`, the base is what its name means now.
pub(crate) async fn build_image(
    project: &Project,
    environment: Option<&EnvironmentView>,
    client: Option<&Client>,
    update: bool,
    sink: Sink<'_>,
) -> Result<Built, Failure> {
    let plan = image::plan(project, environment)?;
    for warning in &plan.warnings {
        sink(Event::Warning(warning.clone()));
    }
    sink(Event::Building(plan.from.clone()));
    let title = ("org.opencontainers.image.title".to_owned(), project.manifest.name.to_string());
    let commit = statements::labels(project).await;
    let labels = plan.labels().into_iter().chain(commit).chain([title]).collect();
    let runtime = Runtime { command: plan.command.0.clone(), labels, ..Runtime::default() };
    let cache = user_cache();
    let means = Means { client, cache: cache.as_ref() };
    let base = base::pinned(project, &plan.base, update, means, sink).await?;
    let origin = Origin::new(project, &plan, &base);
    let request = BuildRequest {
        cache: cache.as_ref(),
        platforms: &project.manifest.build.platforms,
        programs: Some(barge_entrypoint::program),
        ..BuildRequest::new(plan.layers, &base, runtime)
    };
    let product = build_all(request, client).await.map_err(|error| image::unbuilt(project, &error))?;
    let origin = origin.of(&product, cache);
    let built = Built { product, command: plan.command, origin };
    sink(Event::Built { digest: built.digest().to_owned(), size: built.size() });
    Ok(built)
}

/// What earlier builds of this user have made. Without it, a build takes longer.
pub(crate) fn user_cache() -> Option<Cache> {
    let directory = places::cache()?;
    match Cache::open(&directory, cache::LIMIT) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "built without a cache");
            None
        }
    }
}

/// Where images of `service` are in `registry`; the version is the digest alone, since nothing here needs a tag.
pub(crate) fn reference(registry: &str, service: &ServiceName, digest: &str) -> Result<Reference, Failure> {
    format!("{registry}/{service}@{digest}").parse().map_err(|error| {
        Failure::from_error(Kind::General, &error).context("understand the environment's registry address")
    })
}

/// A client for the platform's own registry, with the login's token, and for the public ones that bases come from.
pub(crate) fn registry_client(registry: &str, token: &str) -> Result<Client, Failure> {
    let own = Credentials::Basic { username: REGISTRY_USER.to_owned(), password: token.to_owned() };
    // The platform's own registry is on its machine. Another one must not hear the token: it is told what the user's files say.
    let own = is_loopback(registry).then(|| (registry.to_owned(), own));
    registries::client(own.into_iter().collect())
}

/// Pushes an image, and what is said of it. What the registry has already is not sent again.
pub(crate) async fn push(
    built: &Built,
    reference: &Reference,
    client: &Client,
    sink: Sink<'_>,
) -> Result<Pushed, Failure> {
    // It is found out while the image is on its way, and what is there already does not depend on the push.
    let said = async { Ok(statements::missing(&built.origin, &built.product, reference, client).await) };
    let (pushed, said) = tokio::try_join!(push_image(&built.product, reference, client, sink), said)?;
    statements::attach(said, &built.product, reference, client, sink).await;
    Ok(pushed)
}

async fn push_image(
    product: &Product,
    reference: &Reference,
    client: &Client,
    sink: Sink<'_>,
) -> Result<Pushed, Failure> {
    sink(Event::Pushing(reference.clone()));
    let pushed = client.push_all(product, reference, &|part| sink(Event::Part(part))).await;
    let pushed = pushed.map_err(|error| registry_failure(&error).context(&format!("push {}", reference.name())))?;
    sink(Event::Pushed(pushed));
    Ok(pushed)
}

fn registry_failure(error: &RegistryError) -> Failure {
    let (kind, hint) = match error {
        RegistryError::Unreachable { host, .. } if is_loopback(host) => {
            (Kind::Unreachable, "`barge whoami` says whether the server answers")
        }
        RegistryError::Unauthorized { host, .. } if is_loopback(host) => {
            (Kind::Refused, "`barge whoami` says what your token may do")
        }
        _ => return registries::failure(error),
    };
    Failure::from_error(kind, error).hint(hint)
}

/// Tells what goes on.
pub(crate) fn show(activity: &Activity, event: Event) {
    match event {
        Event::Warning(text) => activity.line(Style::Yellow, &format!("warning: {text}")),
        Event::Locked(text) => activity.line(Style::Plain, &text),
        Event::Building(path) => activity.now(&format!("building from {}", path.display())),
        Event::Built { digest, size } => {
            let short: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
            activity.line(Style::Plain, &format!("built {short} ({})", bytes(size)));
        }
        Event::Pushing(reference) => activity.now(&format!("pushing to {}", reference.name())),
        Event::Part(part) => activity.part(&part),
        Event::Pushed(Pushed { sent: 0, .. }) => activity.line(Style::Plain, "pushed: the registry had it already"),
        Event::Pushed(Pushed { sent, present: 0 }) => activity.line(Style::Plain, &format!("pushed {}", bytes(sent))),
        Event::Pushed(Pushed { sent, present }) => {
            activity.line(Style::Plain, &format!("pushed {}; {} were there already", bytes(sent), bytes(present)));
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let terminal = Terminal::new(globals);
    let project = Project::require(args.directory.as_deref())?;
    if args.explain {
        let known = environment_if_known(&project, globals, &terminal).await?;
        let environment = known.as_ref().map(|(environment, _)| environment);
        return explain::show(image::plan(&project, environment)?, &project, &terminal);
    }
    if args.digest || args.output.is_some() {
        return keep(&args, &project, globals, &terminal).await;
    }
    let activity = terminal.activity();
    let sink = |event| show(&activity, event);
    let session = Session::open(globals, &terminal)?;
    let environment = session.environment().await?;
    let client = registry_client(&environment.registry, &session.token)?;
    let built = build_image(&project, Some(&environment), Some(&client), args.update, &sink).await?;
    let reference = reference(&environment.registry, &project.manifest.name, built.digest())?;
    let pushed = push(&built, &reference, &client, &sink).await?;
    statements::write(&built.origin, built.digest(), args.sbom.as_deref()).await?;
    drop(activity);
    answer(&terminal, &built, Some(reference.to_string()), Some(pushed.sent))
}

/// Builds without a push. No login is needed; a base may still have to be fetched.
async fn keep(args: &Args, project: &Project, globals: &Globals, terminal: &Terminal) -> Result<(), Failure> {
    let activity = terminal.activity();
    let sink = |event| show(&activity, event);
    let known = environment_if_known(project, globals, terminal).await?;
    let client = match &known {
        Some((environment, _)) if environment.bases == Bases::default() => None,
        Some((environment, session)) => Some(registry_client(&environment.registry, &session.token)?),
        None => {
            let far = project.base().is_some_and(|base| base::is_far(&base));
            far.then(|| registries::client(HashMap::new())).transpose()?
        }
    };
    let environment = known.as_ref().map(|(environment, _)| environment);
    let built = build_image(project, environment, client.as_ref(), args.update, &sink).await?;
    let written = write(&built.product, args.output.as_ref(), client.as_ref()).await?;
    statements::write(&built.origin, built.digest(), args.sbom.as_deref()).await?;
    drop(activity);
    answer(terminal, &built, written, None)
}

/// The environment whose base an image has where barge.yaml names none. Nothing is known of it without a login, or with a server that is down,
/// and such a build needs neither otherwise.
async fn environment_if_known(
    project: &Project,
    globals: &Globals,
    terminal: &Terminal,
) -> Result<Option<(EnvironmentView, Session)>, Failure> {
    if project.base().is_some() {
        return Ok(None);
    }
    let asked = async {
        let session = Session::open(globals, terminal)?;
        Ok((session.environment().await?, session))
    };
    match asked.await {
        Err(failure) if globals.environment.is_some() => Err(failure),
        asked => Ok(asked.ok()),
    }
}

async fn write(product: &Product, output: Option<&Output>, client: Option<&Client>) -> Result<Option<String>, Failure> {
    let (result, path): (_, &Path) = match output {
        None => return Ok(None),
        Some(Output::Layout(path)) => (layout::write_all(product, path, client).await, path),
        Some(Output::Tar(path)) => (layout::write_tar(product, path, client).await, path),
    };
    result.map_err(|error| Failure::from_error(Kind::General, &error).context("write the image"))?;
    Ok(Some(path.display().to_string()))
}

fn answer(terminal: &Terminal, built: &Built, reference: Option<String>, sent: Option<u64>) -> Result<(), Failure> {
    let digest = built.digest().to_owned();
    let pushed = sent.is_some();
    let answer = Answer { reference, digest, size: built.size(), sent };
    terminal.data(&answer, |_| match &answer.reference {
        Some(reference) if pushed => reference.clone(),
        _ => answer.digest.clone(),
    })
}
