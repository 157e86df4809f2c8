//! The project that the demo releases: `examples/greeter`, compiled with this program, in three versions.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::failure::Failure;

/// Compiled by `build.rs`.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/greeter"));

/// A version of greeter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Version {
    Good,
    Better,
    Broken,
}

impl Version {
    fn config(self) -> &'static str {
        match self {
            Version::Good => include_str!("../../../../examples/greeter/versions/good.conf"),
            Version::Better => include_str!("../../../../examples/greeter/versions/better.conf"),
            Version::Broken => include_str!("../../../../examples/greeter/versions/broken.conf"),
        }
    }
}

/// Writes the project as a build would leave it: `barge.yaml`, and the built files in `dist`.
pub(super) fn write(project: &Path, version: Version, replicas: u32) -> Result<(), Failure> {
    let dist = project.join("dist");
    let manifest = format!("name: greeter\nkind: web\nreplicas: {replicas}\n");
    let program = dist.join("greeter");
    let written = std::fs::create_dir_all(&dist)
        .and_then(|()| std::fs::write(project.join("barge.yaml"), manifest))
        .and_then(|()| std::fs::write(dist.join("greeter.conf"), version.config()))
        .and_then(|()| std::fs::write(&program, PROGRAM))
        .and_then(|()| std::fs::set_permissions(&program, Permissions::from_mode(0o755)));
    written.map_err(|error| Failure::io(format!("write the demo's project {}", project.display()), &error))
}
