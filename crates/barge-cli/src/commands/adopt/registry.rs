//! The registry that has the Deployment's image, where it has to be asked what the image starts.

use std::path::PathBuf;

use barge_adopt::{Running, Runtime};
use barge_image::base::BaseError;
use barge_image::{Reference, RegistryError};

use crate::failure::{Failure, Kind};
use crate::registries;

/// How to ask it.
#[derive(Debug, clap::Args)]
pub(super) struct Registry {
    /// Ask there for the image, where this machine has another name for the registry than nodes have
    #[arg(long, value_name = "HOST/REPOSITORY")]
    pull_from: Option<Reference>,
    /// Who you are to the registry [default: whoever `barge login` has stored]
    #[arg(long, value_name = "NAME", requires = "registry_password_file")]
    registry_user: Option<String>,
    /// A file with your password there
    #[arg(long, value_name = "FILE", requires = "registry_user")]
    registry_password_file: Option<PathBuf>,
}

impl Registry {
    /// What the image says of how it is run.
    pub(super) async fn runtime(&self, running: &Running) -> Result<Runtime, Failure> {
        let named: Result<Reference, _> = running.image.parse();
        let named = named.map_err(|error| Failure::from_error(Kind::General, &error).context("understand the image"));
        let reference = match &self.pull_from {
            Some(reference) => reference.clone(),
            None => named?,
        };
        let reference = reference.with_digest(running.digest.as_str());
        let (user, password) = (self.registry_user.as_ref(), self.registry_password_file.as_ref());
        let client = registries::client(registries::credentials(&reference.host, user, password)?)?;
        Runtime::fetch(&reference, &client).await.map_err(|error| refused(&reference, &error))
    }
}

fn refused(reference: &Reference, error: &BaseError) -> Failure {
    let (kind, hint) = match error {
        BaseError::Registry(RegistryError::Unauthorized { .. }) => (
            Kind::Refused,
            "say who you are there with --registry-user and --registry-password-file, or what it starts with --command",
        ),
        BaseError::Registry(RegistryError::Unreachable { .. }) => (
            Kind::Unreachable,
            "--pull-from names the registry as this machine reaches it; with --command it need not be asked",
        ),
        _ => (Kind::General, "say what it starts with --command"),
    };
    Failure::from_error(kind, error).context(&format!("ask what the image {reference} starts")).hint(hint)
}
