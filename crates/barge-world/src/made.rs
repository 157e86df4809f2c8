//! What takes long to make is made once for each machine, below `target`, and kept for as long as it is made of the same.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory `target/java/NAME`, which `make` fills where it is missing or was made of something else than `of` says.
///
/// Programs that want it at the same time wait for the first one. One that is killed leaves nothing that the next one would take for whole.
pub(crate) fn once(name: &str, of: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let place = target().join("java");
    std::fs::create_dir_all(&place).unwrap();
    let lock = File::create(place.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let (made, begun, stamp) =
        (place.join(name), place.join(format!("{name}.begun")), place.join(format!("{name}.of")));
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == of) && made.is_dir() {
        return made;
    }
    for path in [&made, &begun] {
        let _ = std::fs::remove_dir_all(path);
    }
    std::fs::create_dir(&begun).unwrap();
    make(&begun);
    std::fs::write(&stamp, of).unwrap();
    std::fs::rename(&begun, &made).unwrap();
    made
}

/// Where cargo builds.
fn target() -> PathBuf {
    // target/PROFILE/deps/it-HASH
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().to_owned()
}

/// Runs a program that must succeed; the result is what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout.into_owned()
}
