//! Archives, good and bad.

mod bad;
mod fuzz;
mod good;
pub(crate) mod hand;

use std::io::{Cursor, Write};
use std::path::PathBuf;

use barge_java::Archive;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A file in a directory of its own.
pub(crate) struct OnDisk {
    pub(crate) directory: TempDir,
    pub(crate) path: PathBuf,
}

pub(crate) fn on_disk(bytes: &[u8]) -> OnDisk {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("shop.jar");
    std::fs::write(&path, bytes).unwrap();
    OnDisk { directory, path }
}

/// An archive as others write it; directories end with `/`.
pub(crate) fn packed(members: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        if name.ends_with('/') {
            writer.add_directory(*name, options).unwrap();
        } else {
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored)
}

pub(crate) fn deflated() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated)
}

/// All of a member, in the way of an image.
pub(crate) fn read(archive: &Archive, name: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut archive.inside(name).unwrap().open()?, &mut bytes)?;
    Ok(bytes)
}

/// An error and its causes, in a line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}
