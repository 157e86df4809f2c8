//! `barge build`: from built files to an image, in a registry or in a file.
//!
//! [`build_image`] and [`push`] print nothing, so that `deploy`, the demo and the tests share them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use barge_image::build::{BuildRequest, files};
use barge_image::image::Runtime;
use barge_image::registry::{Progress, Pushed, Step};
use barge_image::{BuildError, Client, Credentials, Image, Reference, RegistryError, layout};
use barge_model::ServiceName;
use barge_model::manifest::Command;
use serde::Serialize;

use crate::arguments::Globals;
use crate::failure::{Failure, Kind};
use crate::project::Project;
use crate::session::Session;
use crate::terminal::{Activity, Style, Terminal, bytes};

/// The name under which a login's token is the password of the platform's own registry.
const REGISTRY_USER: &str = "barge";

const EXAMPLES: &str = "\
What is built: the files at `build.path`, else dist/, build/, out/, public/ or bin/, else a binary or jar \
with the service's name, else the project's directory itself (without barge.yaml, .git, .gitignore and .env). \
The same files give the same digest on every machine. Docker is not needed.

Examples:
  barge build                            push to the environment's registry
  barge build --digest                   only say which digest it has
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
    /// Only print the image's digest
    #[arg(long)]
    digest: bool,
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

/// An image of a project.
#[derive(Debug)]
pub(crate) struct Built {
    /// The image.
    pub(crate) image: Image,
    /// What starts the service.
    pub(crate) command: Command,
}

impl Built {
    /// The size of the layers in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.image.layers.iter().map(|layer| layer.size).sum()
    }
}

/// Builds the image of a project; `client` is asked for a base that lies in a registry.
pub(crate) async fn build_image(project: &Project, client: Option<&Client>, sink: Sink<'_>) -> Result<Built, Failure> {
    let path = project.build_path();
    let command = project.command()?;
    sink(Event::Building(path.clone()));
    let name = project.manifest.name.to_string();
    let labels = [("org.opencontainers.image.title".to_owned(), name)].into();
    let base = project.base();
    let failed = |error: BuildError| {
        let kind = if matches!(error, BuildError::Scan(_)) { Kind::Usage } else { Kind::General };
        Failure::from_error(kind, &error).context(&format!("build the image of {}", project.manifest.name))
    };
    let request = BuildRequest {
        layers: vec![files(&path, project.left_out()).map_err(failed)?],
        base: &base,
        runtime: Runtime { command: command.0.clone(), labels, ..Runtime::default() },
    };
    let image = barge_image::build(request, client).await.map_err(failed)?;
    let built = Built { image, command };
    sink(Event::Built { digest: built.image.digest.clone(), size: built.size() });
    Ok(built)
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
    let client = Client::new(HashMap::from([(registry.to_owned(), own)]));
    client.map_err(|error| registry_failure(&error))
}

/// Pushes an image. What the registry has already is not sent again.
pub(crate) async fn push(
    image: &Image,
    reference: &Reference,
    client: &Client,
    sink: Sink<'_>,
) -> Result<Pushed, Failure> {
    sink(Event::Pushing(reference.clone()));
    let pushed = client.push(image, reference, &|part| sink(Event::Part(part))).await;
    let pushed = pushed.map_err(|error| registry_failure(&error).context(&format!("push {}", reference.name())))?;
    sink(Event::Pushed(pushed));
    Ok(pushed)
}

fn registry_failure(error: &RegistryError) -> Failure {
    let (kind, hint) = match error {
        RegistryError::Unreachable { .. } => {
            (Kind::Unreachable, Some("`barge whoami` says whether the server answers"))
        }
        RegistryError::Unauthorized { .. } => (Kind::Refused, Some("`barge whoami` says what your token may do")),
        _ => (Kind::General, None),
    };
    let failure = Failure::from_error(kind, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Tells what goes on.
pub(crate) fn show(activity: &Activity, event: Event) {
    match event {
        Event::Building(path) => activity.now(&format!("building from {}", path.display())),
        Event::Built { digest, size } => {
            let short: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
            activity.line(Style::Plain, &format!("built {short} ({})", bytes(size)));
        }
        Event::Pushing(reference) => activity.now(&format!("pushing to {}", reference.name())),
        Event::Part(part) => {
            if part.step == Step::Sent {
                activity.now(&format!("pushed a part of {}", bytes(part.size)));
            }
        }
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
    let activity = terminal.activity();
    let sink = |event| show(&activity, event);
    if args.digest || args.output.is_some() {
        // No login is needed; a base may still have to be fetched.
        let base = project.base();
        let far = base != "scratch" && !base.starts_with("oci:");
        let client = far.then(|| Client::new(HashMap::new()).map_err(|error| registry_failure(&error))).transpose()?;
        let built = build_image(&project, client.as_ref(), &sink).await?;
        let written = write(&built.image, args.output.as_ref(), client.as_ref()).await?;
        drop(activity);
        return answer(&terminal, &built, written, None);
    }
    let session = Session::open(globals, &terminal)?;
    let registry = session.environment().await?.registry;
    let client = registry_client(&registry, &session.token)?;
    let built = build_image(&project, Some(&client), &sink).await?;
    let reference = reference(&registry, &project.manifest.name, &built.image.digest)?;
    let pushed = push(&built.image, &reference, &client, &sink).await?;
    drop(activity);
    answer(&terminal, &built, Some(reference.to_string()), Some(pushed.sent))
}

async fn write(image: &Image, output: Option<&Output>, client: Option<&Client>) -> Result<Option<String>, Failure> {
    let (result, path): (_, &Path) = match output {
        None => return Ok(None),
        Some(Output::Layout(path)) => (layout::write_directory(image, path, client).await, path),
        Some(Output::Tar(path)) => (layout::write_tar(image, path, client).await, path),
    };
    result.map_err(|error| Failure::from_error(Kind::General, &error).context("write the image"))?;
    Ok(Some(path.display().to_string()))
}

fn answer(terminal: &Terminal, built: &Built, reference: Option<String>, sent: Option<u64>) -> Result<(), Failure> {
    let digest = built.image.digest.clone();
    let pushed = sent.is_some();
    let answer = Answer { reference, digest, size: built.size(), sent };
    terminal.data(&answer, |_| match &answer.reference {
        Some(reference) if pushed => reference.clone(),
        _ => answer.digest.clone(),
    })
}
