//! Images as files, while others write the same ones, and after somebody was killed who did.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use barge_image::layout::{write_directory, write_tar};
use barge_image::{Image, Product};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};

use crate::child;
use crate::support::{DEADLINE, incompressible, small, tree};

async fn tar(image: &Image, path: &Path) {
    write_tar(&Product::single(image.clone()), path, None).await.unwrap();
}

/// What stands in a directory under a name that is none of an image's files.
fn unfinished(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(unfinished(&path)),
            false if path.file_name().unwrap().to_str().unwrap().starts_with('.') => found.push(path),
            false => {}
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn builds_that_write_the_same_file_at_the_same_time_leave_one_of_their_images_whole() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("image.tar");
    let mut images = Vec::new();
    let mut expected = Vec::new();
    for number in 0..4 {
        let image = small(&format!("{number}{}", incompressible(2 << 20))).await;
        tar(&image, &path).await;
        expected.push(std::fs::read(&path).unwrap());
        images.push(image);
    }
    for _ in 0..8 {
        let writers = images.iter().cloned().map(|image| {
            let (path, layout) = (path.clone(), place.path().join("layout"));
            tokio::spawn(async move {
                tar(&image, &path).await;
                write_directory(&image, &layout, None).await.unwrap();
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let found = std::fs::read(&path).unwrap();
        assert!(expected.contains(&found), "{} bytes of more than one image", found.len());
        let index = std::fs::read_to_string(place.path().join("layout/index.json")).unwrap();
        assert!(images.iter().any(|image| index.contains(&image.digest)), "{index}");
        for image in &images {
            for blob in image.blobs() {
                let written = std::fs::read(place.path().join("layout/blobs/sha256").join(&blob.digest[7..])).unwrap();
                assert_eq!(barge_image::layer::digest(&written), blob.digest);
            }
        }
        assert_eq!(unfinished(place.path()), [] as [PathBuf; 0]);
    }
}

#[tokio::test]
async fn what_a_killed_build_has_left_beside_its_output_is_removed_and_what_somebody_writes_is_not() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("image.tar");
    let files = tree(&[("greeter*", &incompressible(8 << 20))]);
    let mut child = child::command(files.path(), None).env(child::OUTPUT, &path).spawn().unwrap();
    let begun = Instant::now();
    let writes = || unfinished(place.path()).iter().any(|path| path.metadata().is_ok_and(|found| found.len() > 0));
    loop {
        assert!(begun.elapsed() < DEADLINE, "no build was stopped while it wrote");
        if writes() {
            kill(pid(&child), Signal::SIGSTOP).unwrap();
            waitpid(pid(&child), Some(WaitPidFlag::WUNTRACED)).unwrap();
            if writes() {
                break;
            }
            kill(pid(&child), Signal::SIGCONT).unwrap();
        }
        std::thread::yield_now();
    }
    // It stands still in the middle of its work, and what it writes is its own.
    let image = small("another").await;
    tar(&image, &path).await;
    let left = unfinished(place.path());
    assert_eq!(left.len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(unfinished(place.path()), left);
    let mine = place.path().join(".hidden");
    File::create(&mine).unwrap();
    tar(&image, &path).await;
    assert_eq!(unfinished(place.path()), [mine]);
}

fn pid(child: &std::process::Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[tokio::test]
async fn an_output_has_the_permissions_of_any_other_file() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let (path, other) = (place.path().join("image.tar"), place.path().join("other"));
    tar(&small("hello").await, &path).await;
    File::create(&other).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&other));
}
