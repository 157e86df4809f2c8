//! The program that is carried: it runs where nothing else is, and it is put down once and whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use tempfile::TempDir;

/// What a reader of an ELF file finds at its `e_machine` (ELF specification, figure 1-4).
const MACHINES: [(&str, u16); 2] = [("amd64", 62), ("arm64", 183)];

#[test]
fn a_program_is_static_and_small_and_for_the_machine_that_it_names() {
    for (name, machine) in MACHINES {
        let bytes = barge_entrypoint::program(name).unwrap_or_else(|| panic!("none for {name}: rustup target add"));
        assert_eq!(&bytes[..4], b"\x7fELF", "{name}");
        assert_eq!(u16::from_le_bytes([bytes[18], bytes[19]]), machine, "{name}");
        assert!(!has_interpreter(bytes), "{name} wants a loader at run time");
        assert!(bytes.len() < 2 * 1024 * 1024, "{name} has {} bytes", bytes.len());
    }
}

/// Whether a program header asks for a loader (`PT_INTERP`).
fn has_interpreter(elf: &[u8]) -> bool {
    let number =
        |at: usize, width: usize| elf[at..at + width].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|at| number(headers + at * size, 4) == 3)
}

#[test]
fn what_is_put_down_runs() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("barge-init");
    barge_entrypoint::place(&path).unwrap();
    let answer = Command::new(&path).output().unwrap();
    assert_eq!(answer.status.code(), Some(64), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.stderr).contains("usage: barge-init"), "{answer:?}");
}

#[test]
fn what_is_there_stays_and_what_was_damaged_is_mended() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("barge-init");
    barge_entrypoint::place(&path).unwrap();
    let first = std::fs::metadata(&path).unwrap().ino();
    barge_entrypoint::place(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), first, "written again for nothing");

    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    barge_entrypoint::place(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), good);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    barge_entrypoint::place(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}
