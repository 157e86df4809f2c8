//! Greeter by itself: what it says when its configuration is wrong. That it serves is shown by every scenario.

// A test fails by panicking, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::process::Command;

fn check(configuration: Option<&str>, expected: &str) {
    let directory = std::env::temp_dir().join(format!("greeter-{}-{}", std::process::id(), expected.len()));
    std::fs::create_dir_all(&directory).unwrap();
    if let Some(text) = configuration {
        std::fs::write(directory.join("greeter.conf"), text).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_greeter")).current_dir(&directory).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), expected);
}

#[test]
fn a_wrong_configuration_is_named_with_its_line() {
    check(Some("version=1\nno"), "greeter: greeter.conf, line 2: \"no\" is not NAME=VALUE");
    check(Some("colour=red"), "greeter: greeter.conf, line 1: the setting \"colour\" is unknown");
    check(None, "greeter: read greeter.conf: No such file or directory (os error 2)");
}
