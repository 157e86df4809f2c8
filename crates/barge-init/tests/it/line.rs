//! barge-init as an image's entrypoint without files: words alone.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{PROGRAM, eventually};

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_command_is_run_and_its_exit_code_passed_on() {
    for code in [0, 3, 255] {
        let output = run(&["--", "/bin/sh", "-c", &format!("echo out; echo err >&2; exit {code}")]);
        assert_eq!(told(&output), (code, "out\n".to_owned(), "err\n".to_owned()));
    }
    assert_eq!(run(&["--", "/bin/sh", "-c", "kill -KILL $$"]).status.code(), Some(137));
    assert_eq!(run(&["--", "/bin/sh", "-c", "kill -TERM $$"]).status.code(), Some(143), "nobody has asked for it");
}

#[test]
fn it_puts_itself_where_another_container_finds_it() {
    let directory = tempfile::tempdir().unwrap();
    let (place, text) = (directory.path().join("barge-init"), directory.path().to_str().unwrap());
    // The umask of whoever calls does not matter, nor what is there already, nor what somebody who was killed has left.
    std::fs::write(directory.path().join(".barge-init.part"), "half").unwrap();
    for _ in 0..2 {
        let done =
            Command::new("/bin/sh").args(["-c", "umask 077; exec \"$0\" install \"$1\"", PROGRAM, text]).output();
        assert_eq!(told(&done.unwrap()), (0, String::new(), String::new()));
    }
    assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o755);
    let version = Command::new(&place).arg("--version").output().unwrap();
    assert_eq!(version.stdout, run(&["--version"]).stdout);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let (code, _, err) = told(&run(&["install", "/no/such/directory"]));
    assert_eq!(code, 1);
    assert!(err.starts_with("barge-init: write /no/such/directory/barge-init: No such file"), "{err}");
}

#[test]
fn another_user_of_the_container_cannot_put_a_program_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let mode = || std::fs::metadata(directory.path()).unwrap().permissions().mode() & 0o7777;
    let install = || assert_eq!(told(&run(&["install", directory.path().to_str().unwrap()])).0, 0);
    let before = mode();
    install();
    assert_eq!(mode(), before, "nobody else can write there anyway");
    // As the volume of a pod is.
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    install();
    assert_eq!(mode(), 0o1777);
}

#[test]
fn what_cannot_be_run_ends_at_once_with_the_codes_of_shells() {
    let (code, _, err) = told(&run(&["--", "/no/such/program"]));
    assert_eq!(code, 127);
    assert!(err.starts_with("barge-init: start failed: start \"/no/such/program\""), "{err}");
    assert_eq!(run(&["--", "/etc/passwd"]).status.code(), Some(126));
}

#[test]
fn words_environment_and_input_are_the_commands_own() {
    let mut command = Command::new(PROGRAM);
    command.args(["--", "/bin/sh", "-c", "read line; echo \"$1 $GREETING $line\"", "sh", "$HOME ${HOME} $$"]);
    let mut child =
        command.env("GREETING", "hello $HOME").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"from outside\n").unwrap();
    let (code, out, _) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (0, "$HOME ${HOME} $$ hello $HOME from outside\n"));
}

#[test]
fn settings_are_taken_from_options() {
    let (code, out, _) = told(&run(&["--directory", "/usr", "--umask", "077", "--", "/bin/sh", "-c", "pwd; umask"]));
    assert_eq!((code, out.as_str()), (0, "/usr\n0077\n"));
}

#[test]
fn options_that_make_no_sense_are_named() {
    for (arguments, expected) in [
        (&["--"][..], "no command is given"),
        (&["--probe"], "--probe wants a value"),
        (&["--probe", "smell", "--", "true"], "--probe cannot be \"smell\""),
        (&["--port", "0", "--", "true"], "--port cannot be \"0\""),
        (&["--port", "70000", "--", "true"], "--port cannot be \"70000\""),
        (&["--grace", "-1", "--", "true"], "--grace cannot be \"-1\""),
        (&["--ready", "nowhere", "--", "true"], "--ready cannot be \"nowhere\""),
        (&["--fast", "yes", "--", "true"], "there is no option \"--fast\""),
    ] {
        let (code, _, err) = told(&run(arguments));
        assert_eq!(code, 64, "{arguments:?}: {err}");
        assert!(err.contains(expected) && err.contains("hint: barge-init --help"), "{err}");
    }
}

fn start(arguments: &[&str]) -> Child {
    Command::new(PROGRAM).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(mut child: Child) -> (i32, String, String) {
    eventually("its end", || child.try_wait().unwrap());
    told(&child.wait_with_output().unwrap())
}

#[test]
fn a_start_that_failed_is_held_where_a_check_was_asked_for() {
    let child = start(&["--probe", "accept", "--port", "1", "--", "/bin/sh", "-c", "echo no table; exit 3"]);
    let pid = Pid::from_raw(child.id().cast_signed());
    let status = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    // Its only child is gone, and it is still there.
    eventually("the child's end", || status().is_empty().then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(100));
    kill(pid, Signal::SIGTERM).unwrap();
    let (code, out, err) = end(child);
    assert_eq!((code, out.as_str()), (3, "no table\n"));
    assert_eq!(
        err,
        "barge-init: start failed: the process ended before it was ready: exit code 3; its last line: no table\n"
    );
}
