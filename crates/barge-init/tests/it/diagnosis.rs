//! Why something has ended, in words: from its last lines, and from the kernel.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use barge_init::{Ending, Phase, Plan, Probe, Status};
use tempfile::TempDir;

use crate::support::{Init, ready, shell};

/// A class with a `main`, compiled; none, said aloud, where there is no JDK.
fn compiled(body: &str) -> Option<TempDir> {
    let directory = TempDir::new().unwrap();
    let source = directory.path().join("Main.java");
    std::fs::write(&source, format!("public class Main {{ {body} }}")).unwrap();
    let Ok(done) = Command::new("javac").arg("-d").arg(directory.path()).arg(&source).output() else {
        barge_testkit::skipped("there is no javac");
        return None;
    };
    assert!(done.status.success(), "{done:?}");
    Some(directory)
}

fn java(directory: &TempDir, options: &str) -> Plan {
    let mut plan = shell(&format!("exec java {options} -cp {} Main", directory.path().display()));
    plan.main.env.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
    plan
}

fn held(plan: &Plan) -> Status {
    Init::start(plan).wait_phase(Phase::Held)
}

fn reason(status: &Status) -> &str {
    status.reason.as_deref().unwrap()
}

#[test]
fn a_heap_that_is_too_small_is_told_of() {
    let body = "public static void main(String[] a) { var l = new java.util.ArrayList<byte[]>(); while (true) l.add(new byte[1 << 20]); }";
    let Some(directory) = compiled(body) else { return };
    let status = held(&java(&directory, "-Xmx16m"));
    assert_eq!(status.ending, Some(Ending::Exited { code: 1 }));
    assert!(reason(&status).contains("exit code 1; the JVM's heap is too small for what it does (-Xmx"), "{status:?}");
}

#[test]
fn an_exit_in_the_middle_of_a_start_is_told_of_with_the_last_words() {
    let body = "public static void main(String[] a) { System.out.println(\"no licence\"); System.exit(42); }";
    let Some(directory) = compiled(body) else { return };
    let status = held(&java(&directory, ""));
    assert_eq!(reason(&status), "the process ended before it was ready: exit code 42; its last line: no licence");
}

#[test]
fn a_port_that_is_taken_is_told_of() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let body = format!(
        "public static void main(String[] a) throws Exception {{ new java.net.ServerSocket({port}, 1, java.net.InetAddress.getLoopbackAddress()); }}"
    );
    let Some(directory) = compiled(&body) else { return };
    let status = held(&java(&directory, ""));
    assert!(reason(&status).contains("a port that it wants is taken already: "), "{status:?}");
    assert!(reason(&status).contains("Address already in use"), "{status:?}");
}

/// A memory group of version 1 or 2 of cgroups(7) with a limit; none, said aloud, where none can be made.
struct Group(PathBuf);

impl Group {
    fn with_limit(bytes: u64) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("barge-init-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let versions = [("", "cgroup.controllers", "memory.max"), ("memory", "cgroup.procs", "memory.limit_in_bytes")];
        for (tree, mark, limit) in versions {
            let root = PathBuf::from("/sys/fs/cgroup").join(tree);
            let directory = root.join(&name);
            if root.join(mark).exists() && std::fs::create_dir(&directory).is_ok() {
                let group = Self(directory);
                if std::fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                    return Some(group);
                }
            }
        }
        barge_testkit::skipped("no memory can be limited here");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn the_kernels_kill_for_want_of_memory_is_told_of() {
    let Some(group) = Group::with_limit(48 << 20) else { return };
    let mut plan = shell("python3 -c 'b\"x\" * (512 << 20)'; exit $?");
    plan.main.env.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
    plan.groups = vec![group.0.join("cgroup.procs")];
    let mut init = Init::start(&plan);
    let status = init.wait_phase(Phase::Held);
    assert!(
        reason(&status).ends_with("the kernel killed it because it took more than its limit of 48 MiB of memory"),
        "{status:?}"
    );
    init.stop(crate::support::at_once(100));
    init.exit();
}

#[test]
fn a_kill_by_somebody_is_not_blamed_on_memory() {
    let status = held(&shell("kill -KILL $$$$"));
    assert!(reason(&status).contains("killed (SIGKILL); not by barge-init"), "{status:?}");
}

#[test]
fn a_crash_after_a_good_start_says_why() {
    let mut init = Init::start(&ready(shell("sleep 0.3; echo listen tcp: Address already in use; exit 1")));
    init.wait_phase(Phase::Ready);
    assert_eq!(init.exit().0, 1);
    let status = init.file().unwrap();
    assert_eq!(
        reason(&status),
        "the process ended after a good start: exit code 1; a port that it wants is taken already: listen tcp: Address already in use"
    );
}

#[test]
fn the_termination_message_has_the_reason_and_the_last_lines() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("termination-log");
    let mut plan = shell("i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i of the output; done; exit 3");
    plan.termination_message = Some(path.clone());
    let init = Init::start(&plan);
    init.wait_phase(Phase::Held);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("the process ended before it was ready: exit code 3; its last line: line 300"), "{text}");
    assert!(text.ends_with("\nline 300 of the output") && text.len() <= 4096, "{text}");
    plan.termination_message = Some("/no/such/directory/message".into());
    plan.probe = Probe::None;
    let mut init = Init::start(&plan);
    assert_eq!(init.exit().0, 3, "a message that cannot be written stops nobody");
}

#[test]
fn a_jvm_that_outgrows_its_group_is_told_of() {
    let body = "public static void main(String[] a) { var l = new java.util.ArrayList<byte[]>(); while (true) l.add(new byte[1 << 20]); }";
    let (Some(directory), Some(group)) = (compiled(body), Group::with_limit(256 << 20)) else { return };
    // A heap that may become larger than the group: the JVM itself sees nothing coming.
    let mut plan = java(&directory, "-Xmx2g -Xms1g -XX:+AlwaysPreTouch");
    plan.groups = vec![group.0.join("cgroup.procs")];
    let mut init = Init::start(&plan);
    let status = init.wait_phase(Phase::Held);
    assert!(reason(&status).contains("killed (SIGKILL)"), "{status:?}");
    assert!(
        reason(&status).ends_with("the kernel killed it because it took more than its limit of 256 MiB of memory"),
        "{status:?}"
    );
    init.stop(crate::support::at_once(100));
    init.exit();
}

#[test]
fn the_instance_is_in_its_group_whoever_it_runs_as_and_barge_init_is_not() {
    let Some(group) = Group::with_limit(64 << 20) else { return };
    let name = group.0.file_name().unwrap().to_str().unwrap().to_owned();
    let mut plan = shell("cat /proc/self/cgroup; sleep 1000");
    plan.groups = vec![group.0.join("cgroup.procs")];
    plan.main.user = nix::unistd::geteuid().is_root().then(|| "nobody".to_owned());
    let init = Init::start(&plan);
    init.wait_output(&name);
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", init.pid())).unwrap();
    assert!(!own.contains(&name), "{own}");
    // A group can be removed once nobody is in it.
    init.stop(crate::support::at_once(100));
    let mut init = init;
    init.exit();
}
