//! The image that all parts run from: this very program and barge-init, on nothing.
//!
//! There is no image of Barge to be had anywhere: who has the program has the image, of the same version, for the same kind of machine.

use std::path::{Path, PathBuf};

use barge_image::image::{Base, Runtime, assemble};
use barge_image::layer::{self, LayerError};
use barge_image::plan::{Content, Entry, LayerPlan};
use barge_image::{Image, RegistryError};

use crate::VERSION;
use crate::libraries::{LibrariesError, of_this_program};

/// Where programs look for the authorities that they trust.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Where systems have them.
const CERTIFICATES_HERE: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// What the program needs is not known.
    #[error("find the libraries that barge runs with")]
    Libraries(#[from] LibrariesError),
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The layer could not be written.
    #[error("write the image's layer")]
    Layer(#[source] LayerError),
    /// The registry did not take it.
    #[error("push {name}")]
    Push {
        /// Where to.
        name: String,
        /// Why not.
        source: RegistryError,
    },
    /// The work was given up.
    #[error("the build was interrupted")]
    Interrupted,
}

/// Builds the image of a program that runs in this process, and of a barge-init.
///
/// # Errors
/// A file that has to be in it cannot be read.
pub async fn build(program: &Path, barge_init: &Path) -> Result<Image, ImageError> {
    let mut files =
        vec![("app/barge".to_owned(), program.to_owned()), ("app/barge-init".to_owned(), barge_init.to_owned())];
    files.extend(of_this_program(program)?);
    let certificates = CERTIFICATES_HERE.map(PathBuf::from).into_iter().find(|file| file.is_file());
    files.extend(certificates.map(|file| (CERTIFICATES.to_owned(), file)));
    let plan = plan(files)?;
    let written = tokio::task::spawn_blocking(move || layer::write(&plan)).await;
    let layer = written.map_err(|_| ImageError::Interrupted)?.map_err(ImageError::Layer)?;
    let labels = [("org.opencontainers.image.title", "barge"), ("org.opencontainers.image.version", VERSION)];
    let runtime = Runtime {
        command: vec!["/app/barge".to_owned(), "--help".to_owned()],
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Runtime::default()
    };
    Ok(assemble(Base::default(), &[layer], &runtime))
}

/// What goes where. All but certificates may be run.
fn plan(files: Vec<(String, PathBuf)>) -> Result<LayerPlan, ImageError> {
    let mut plan = LayerPlan::new();
    for (path, source) in files {
        for (at, _) in path.match_indices('/') {
            plan.entry(path[..at].to_owned()).or_insert(Entry::Directory);
        }
        let size =
            std::fs::metadata(&source).map_err(|error| ImageError::Read { path: source.clone(), source: error })?.len();
        let executable = path != CERTIFICATES;
        plan.insert(path, Entry::File { content: Content::Path(source), size, executable, stamped: false });
    }
    Ok(plan)
}
