//! The output's files, its last lines, and floods.

use std::path::Path;

use barge_init::{Phase, Plan, files};

use crate::support::{Init, ready, shell};

/// The log's files, oldest first.
fn log_files(directory: &Path) -> Vec<String> {
    let rotated = (1..10).rev().map(|number| format!("{}.{number}", files::LOG));
    let names = rotated.chain([files::LOG.to_owned()]);
    names.filter_map(|name| std::fs::read_to_string(directory.join(name)).ok()).collect()
}

#[test]
fn the_log_is_rotated_between_lines() {
    let mut plan = shell("seq -f 'line %.0f' 0 29999; exit 1");
    plan.output.file_bytes = Some(8192);
    let init = Init::start(&plan);
    let status = init.wait_phase(Phase::Held);
    let parts = log_files(&init.directory);
    assert_eq!(parts.len(), 4);
    assert!(parts.iter().all(|part| part.ends_with('\n') && part.starts_with("line ")), "a line was cut");
    let numbers: Vec<u32> =
        parts.concat().lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    let expected: Vec<u32> = (numbers[0]..30_000).collect();
    assert_eq!(numbers, expected, "nothing is lost between two files");
    assert_eq!(status.log_tail.len(), 200);
    assert_eq!(status.log_tail.last().unwrap(), "line 29999");
}

#[test]
fn a_flood_is_bounded_and_holds_nobody_up() {
    for flood in ["yes 0123456789abcdef", "cat /dev/zero"] {
        let mut plan = shell(&format!("{flood} | head -c 20000000; echo; echo end; exit 1"));
        plan.output.file_bytes = Some(1024 * 1024);
        let init = Init::start(&plan);
        let status = init.wait_phase(Phase::Held);
        assert_eq!(status.log_tail.last().unwrap(), "end");
        let size: usize = log_files(&init.directory).iter().map(String::len).sum();
        assert!(size <= 8 * 1024 * 1024, "{flood}: {size}");
        let longest = status.log_tail.iter().map(String::len).max().unwrap();
        assert!(longest <= 2000, "{flood}: {longest}");
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    let plan = shell("echo said; exit 1");
    let directory = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join(files::LOG)).unwrap();
    let command = std::process::Command::new(crate::support::PROGRAM);
    let init = Init::start_in(directory.path().to_owned(), directory, &plan, command);
    assert_eq!(init.wait_phase(Phase::Held).log_tail, ["said"]);
}

/// One whose own output goes into `pipe`.
fn start_into(pipe: std::io::PipeWriter, plan: &Plan) -> Init {
    let directory = tempfile::TempDir::new().unwrap();
    let mut command = std::process::Command::new(crate::support::PROGRAM);
    command.stdout(pipe.try_clone().unwrap()).stderr(pipe);
    Init::start_as(directory.path().to_owned(), directory, plan, command)
}

#[test]
fn output_that_nobody_reads_any_more_stops_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut plan = shell("echo said; exit 3");
    plan.output.pass_on = true;
    let mut init = start_into(writer, &plan);
    assert_eq!(init.wait_phase(Phase::Held).log_tail, ["said"]);
    init.stop(crate::support::at_once(100));
    assert_eq!(crate::support::eventually("its end", || init.ended()), 3);
}

#[test]
fn output_that_nobody_takes_holds_up_whoever_writes_it_and_nobody_else() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut plan = shell("yes; sleep 1000");
    plan.start_deadline_ms = 1500;
    plan.output.pass_on = true;
    let mut init = start_into(writer, &plan);
    // It says so on the same output, where there is no room.
    assert!(init.wait_phase(Phase::Held).reason.is_some());
    init.stop(crate::support::at_once(100));
    assert_eq!(crate::support::eventually("its end, though nobody reads", || init.ended()), 137);
    drop(reader);
}

#[test]
fn a_log_that_can_be_written_again_is() {
    let directory = tempfile::TempDir::new().unwrap();
    let in_the_way = directory.path().join(files::LOG);
    std::fs::create_dir(&in_the_way).unwrap();
    let command = std::process::Command::new(crate::support::PROGRAM);
    let plan = ready(shell("while :; do echo said; sleep 0.05; done"));
    let init = Init::start_in(directory.path().to_owned(), directory, &plan, command);
    init.wait_phase(Phase::Ready);
    std::fs::remove_dir(in_the_way).unwrap();
    init.wait_output("said\nsaid\n");
}

#[test]
fn the_files_belong_to_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut plan = shell("seq -f 'line %.0f' 0 29999; exit 1");
    plan.output.file_bytes = Some(8192);
    let init = Init::start(&plan);
    init.wait_phase(Phase::Held);
    let rotated = (1..=3).map(|number| format!("{}.{number}", files::LOG));
    let others = [files::LOG, files::STATUS, files::SOCKET, files::LOCK].map(str::to_owned);
    for name in rotated.chain(others) {
        let mode = std::fs::metadata(init.directory.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}
