//! Builds in a process of its own, which can be killed, limited or lied to about the time.

use std::path::Path;
use std::process::{Command, Output};

use barge_image::build::{BuildRequest, files};
use barge_image::layout::write_tar;
use barge_image::{Cache, Product, build};

use crate::support::runtime;

const FILES: &str = "BARGE_TEST_CHILD_FILES";
const CACHE: &str = "BARGE_TEST_CHILD_CACHE";
/// Where the image is written to as a tar, again and again.
pub(crate) const OUTPUT: &str = "BARGE_TEST_CHILD_OUTPUT";

/// Begins the line with the digest.
const DIGEST: &str = "the digest is ";

/// A command that builds the image of `files` with the cache in `cache`, and says its digest.
pub(crate) fn command(files: &Path, cache: Option<&Path>) -> Command {
    command_by(&[], files, cache)
}

/// The same by way of another program.
pub(crate) fn command_by(program: &[&str], files: &Path, cache: Option<&Path>) -> Command {
    let test = std::env::current_exe().unwrap();
    let mut command = match program {
        [] => Command::new(&test),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&test);
            command
        }
    };
    command.args(["--exact", "child::work", "--nocapture", "--test-threads=1"]).env(FILES, files);
    if let Some(cache) = cache {
        command.env(CACHE, cache);
    }
    command
}

/// The digest that a child has said.
pub(crate) fn digest(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().find_map(|line| line.split_once(DIGEST));
    assert!(output.status.success() && told.is_some(), "{output:?}");
    told.unwrap().1.to_owned()
}

/// What the child does. In the tests' own process it does nothing.
#[tokio::test]
async fn work() {
    let Some(path) = std::env::var_os(FILES) else { return };
    let cache = std::env::var_os(CACHE).map(|path| Cache::open(Path::new(&path), barge_image::cache::LIMIT));
    // A cache that cannot be opened is none, as for the program.
    let cache = cache.and_then(Result::ok);
    let layers = vec![files(Path::new(&path), &[]).unwrap()];
    let request = BuildRequest { cache: cache.as_ref(), ..BuildRequest::new(layers, "scratch", runtime()) };
    let image = build(request, None).await.unwrap();
    println!("{DIGEST}{}", image.digest);
    let Some(output) = std::env::var_os(OUTPUT) else { return };
    loop {
        write_tar(&Product::single(image.clone()), Path::new(&output), None).await.unwrap();
    }
}
