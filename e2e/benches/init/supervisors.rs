//! s6, runit and supervisord, each configured as its documentation says for what a container needs: that it ends with its main process,
//! and as that ended, where this can be said at all.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::systems::{GRACE, Place, Wanted};

/// A service's directory with its script `run`, under `scan`.
fn service(place: &Place<'_>, name: &str, command: &[String]) -> PathBuf {
    let directory = place.directory.join("scan").join(name);
    script(&directory.join("run"), &format!("exec {}", words(command)));
    directory
}

/// Words for a shell.
fn words(command: &[String]) -> String {
    let quoted: Vec<String> = command.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    quoted.join(" ")
}

fn script(path: &Path, text: &str) {
    file(path, &format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn file(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// `s6-svscan DIRECTORY`. Of signals, those go on for which `.s6-svscan/SIGNAL` is a script and `s6-svc` has a letter. `finish` of the
/// service leaves the exit code for `finish` of the scanner, as s6-overlay does it; `timeout-kill` is the grace. Readiness comes from
/// `s6-notifyoncheck` and `data/check`; `finish` of a service that was never ready ends with 125, which holds it down.
pub(crate) fn s6(place: &Place<'_>, wanted: &Wanted) -> Vec<String> {
    let scan = place.directory.join("scan");
    let main = service(place, "main", &wanted.command);
    let (code, asked) = (place.directory.join("code").display().to_string(), place.directory.join("asked"));
    let asked = asked.display().to_string();
    file(&main.join("timeout-kill"), &GRACE.as_millis().to_string());
    if let Some(helper) = &wanted.helper {
        service(place, "helper", helper);
    }
    let control = scan.join(".s6-svscan");
    if !wanted.bare {
        let (scan, main) = (scan.display(), main.display());
        for (signal, letter) in
            [("HUP", "h"), ("INT", "i"), ("QUIT", "q"), ("USR1", "1"), ("USR2", "2"), ("WINCH", "y")]
        {
            script(&control.join(format!("SIG{signal}")), &format!("exec s6-svc -{letter} {main}"));
        }
        script(&control.join("SIGTERM"), &format!(": >{asked}; exec s6-svscanctl -t {scan}"));
        // A process that was asked to end and dies of it has not failed.
        let counts = "[ $code = 143 ] && [ -e ASKED ] && code=0".replace("ASKED", &asked);
        script(&control.join("finish"), &format!("code=$(cat {code}); {counts}; exit $code"));
        let hold = if wanted.hold.is_some() { "[ -e ready ] || exit 125\n" } else { "" };
        let end = format!("[ $1 = 256 ] && set -- $((128 + $2))\necho $1 >{code}; exec s6-svscanctl -t {scan}");
        script(&place.directory.join("scan/main/finish"), &format!("{hold}{end}"));
    }
    if let Some(port) = wanted.hold {
        let business = place.business.display();
        script(&main.join("run"), &format!("exec s6-notifyoncheck -d -n 0 -w 50 {}", words(&wanted.command)));
        script(&main.join("data/check"), &format!("{business} connect {port} && : >ready"));
        file(&main.join("notification-fd"), "3");
    }
    vec!["s6-svscan".to_owned(), scan.display().to_string()]
}

/// `runsv DIRECTORY`, which hears SIGTERM and no other signal of ours; it runs one service. `finish` has it leave with the service, and
/// `control/t`, which stands for its SIGTERM, sees to the group (`chpst -P` makes one) and to the grace. Its own exit code cannot be
/// chosen.
pub(crate) fn runsv(place: &Place<'_>, wanted: &Wanted) -> Vec<String> {
    let main = runit_service(place, wanted);
    if !wanted.bare {
        script(&main.join("finish"), &format!("exec sv exit {}", main.display()));
    }
    vec!["runsv".to_owned(), main.display().to_string()]
}

/// `runsvdir DIRECTORY`, which leaves at once with SIGTERM, and with SIGHUP as well, though that is passed on. `finish` of main ends it.
pub(crate) fn runsvdir(place: &Place<'_>, wanted: &Wanted) -> Vec<String> {
    let main = runit_service(place, wanted);
    if let Some(helper) = &wanted.helper {
        service(place, "helper", helper);
    }
    if !wanted.bare {
        script(&main.join("finish"), "exec kill -HUP 1");
    }
    vec!["runsvdir".to_owned(), "-P".to_owned(), place.directory.join("scan").display().to_string()]
}

fn runit_service(place: &Place<'_>, wanted: &Wanted) -> PathBuf {
    if wanted.bare {
        return service(place, "main", &wanted.command);
    }
    let in_group = ["chpst".to_owned(), "-P".to_owned()].into_iter().chain(wanted.command.clone());
    let main = service(place, "main", &in_group.collect::<Vec<_>>());
    let (grace, group) = (GRACE.as_secs(), if wanted.to_process_alone { "" } else { "-" });
    let kill = format!("kill -TERM {group}$pid; (sleep {grace}; kill -KILL -$pid) >/dev/null 2>&1 & exit 0");
    script(&main.join("control/t"), &format!("pid=$(cat supervise/pid); {kill}"));
    main
}

/// `supervisord -n`. `stopasgroup` and `killasgroup` reach what main has started, `stopwaitsecs` is the grace; `startsecs` tells a failed
/// start from a later crash, and with `startretries=0` it is not tried again. That main's end is the container's end takes an event
/// listener, which ends supervisord; its own exit code cannot be chosen.
pub(crate) fn supervisord(place: &Place<'_>, wanted: &Wanted) -> Vec<String> {
    let directory = place.directory.display();
    let mut text = format!(
        "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={directory}/pid\n"
    );
    // Without a time that a start takes, a process that ends at once has started well.
    let starts = if wanted.hold.is_some() { "startsecs=1\nstartretries=0" } else { "startsecs=0" };
    program(&mut text, "main", &wanted.command, &format!("autorestart=false\n{starts}"));
    if let Some(helper) = &wanted.helper {
        program(&mut text, "helper", helper, "autorestart=true\nstartsecs=1\nstartretries=1000");
    }
    if !wanted.bare {
        let listener = place.directory.join("listener");
        script(&listener, LISTENER);
        let events = "PROCESS_STATE_EXITED";
        writeln!(text, "[eventlistener:end]\ncommand={}\nevents={events}", listener.display()).unwrap();
    }
    let configuration = place.directory.join("supervisord.conf");
    file(&configuration, &text);
    ["supervisord", "-n", "-c"].map(str::to_owned).into_iter().chain([configuration.display().to_string()]).collect()
}

fn program(text: &mut String, name: &str, command: &[String], rest: &str) {
    writeln!(
        text,
        "[program:{name}]\ncommand={}\n{rest}\nstopwaitsecs={}\nstopasgroup=true\nkillasgroup=true\n\
         stdout_logfile=/dev/null\nstdout_logfile_maxbytes=0\nredirect_stderr=true",
        // Its own templates begin with a percent sign.
        words(command).replace('%', "%%"),
        GRACE.as_secs()
    )
    .unwrap();
}

/// supervisord's protocol for listeners: a line that says how many bytes follow, and an answer.
const LISTENER: &str = r#"while printf 'READY\n'; read -r head; do
    told=$(head -c "${head##*len:}")
    case $told in *processname:main*) kill -TERM 1 ;; esac
    printf 'RESULT 2\nOK'
done"#;
