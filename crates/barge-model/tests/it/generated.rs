//! Files that are made from the code and committed. `BARGE_UPDATE=1` writes them anew; without it a difference fails the test.

use std::path::Path;

/// Compares `text` with the file at `path`, relative to this crate's directory.
#[track_caller]
pub(crate) fn check(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BARGE_UPDATE").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "{path} is not what the code makes of it; run the test with BARGE_UPDATE=1, look at the difference"
    );
}
