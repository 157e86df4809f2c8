//! What machines do to a platform: full disks, clocks that jump, damaged databases, too few descriptors, clients that say nothing.

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use barge_testkit::{Surroundings, TestPlatform, barge_binary, tool};

use crate::support::{answers, greeter, greeter_version, load_plan, release_first, under_load, wait_for};

/// A small file system in memory, for as long as the value lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, said aloud, where nothing may be mounted.
    fn of(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new(tool("mount")?);
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "none"]).arg(directory.path());
        if mount.output().unwrap().status.success() {
            return Some(Self(directory));
        }
        barge_testkit::skipped("nothing may be mounted here");
        None
    }

    /// Leaves so many bytes free.
    fn fill(&self, free: usize) -> Filler {
        let path = self.0.path().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        // Until the disk is full, then back by what is to be free.
        while file.write_all(&[0; 4096]).is_ok() {}
        let length = file.stream_position().unwrap();
        file.set_len(length.saturating_sub(free as u64)).unwrap();
        Filler(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there is about to end.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_full_disk_stops_changes_with_a_word_and_nothing_that_serves() {
    let Some(disk) = SmallDisk::of("48m") else { return };
    let data = Some(disk.0.path().join("data"));
    let platform = TestPlatform::start_in(Surroundings { data, ..Surroundings::default() });
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    greeter_version(&project, "better");
    under_load(load_plan(&platform, "greeter"), |phase| {
        // Room for nothing; for records and not for an image; for an image and not for instances.
        for free in [0, 64 * 1024, 400 * 1024] {
            let filler = disk.fill(free);
            let told = platform.barge_output(&project, &["deploy", "--timeout", "5s"]);
            let said = String::from_utf8_lossy(&told.stderr).into_owned();
            assert!(!told.status.success(), "{said}");
            assert!(said.contains("disk") || said.contains("space") || said.contains("still on its way"), "{said}");
            phase("on a full disk");
            assert_eq!(platform.barge_json(&project, &["status"])["available"], 2);
            drop(filler);
            phase("with room again");
            // Whatever was begun without room can be taken back; that there is nothing to take back is as good.
            platform.barge_output(&project, &["abort"]);
            wait_for("the end of what was begun", || platform.barge_json(&project, &["status"])["candidate"].is_null());
        }
        platform.barge(&project, &["deploy"]);
        platform.barge(&project, &["approve", "--wait", "complete"]);
    });
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["A very good day to you from greeter 2"]);
}

#[test]
fn a_gateway_starts_on_a_full_disk_and_needs_no_room_to_say_who_it_is() {
    let Some(disk) = SmallDisk::of("1M") else { return };
    let data = disk.0.path().join("gateway");
    let start = || {
        let mut command = Command::new(barge_testkit::barge_binary());
        command.args(["gateway", "--any-port", "--json", "--data"]).arg(&data);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        barge_testkit::signal("KILL", child.id());
        child.wait().unwrap();
        line
    };
    let first = start();
    assert!(first.contains("\"gateway\""), "{first}");
    // As on a disk that gives no room back before it takes some.
    std::fs::write(data.join("lock"), "").unwrap();
    let _full = disk.fill(0);
    assert_eq!(start(), first, "it did not start, or on other ports");
}

#[test]
fn what_is_acknowledged_after_a_full_disk_is_stored() {
    let Some(disk) = SmallDisk::of("48m") else { return };
    let data = Some(disk.0.path().join("data"));
    let mut platform = TestPlatform::start_in(Surroundings { data, ..Surroundings::default() });
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let filler = disk.fill(0);
    for words in [["scale", "3"], ["restart", "--detach"], ["scale", "4"], ["rollback", "--detach"], ["scale", "5"]] {
        let told = platform.barge_output(&project, &words);
        assert!(!told.status.success(), "{words:?} cannot have been stored");
    }
    drop(filler);
    platform.barge(&project, &["scale", "3"]);
    wait_for("three instances", || platform.barge_json(&project, &["status"])["available"] == 3);
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    platform.barge(&project, &["approve", "--wait", "complete"]);
    platform.kill();
    platform.up();
    let releases = platform.barge_json(&project, &["releases"]);
    assert_eq!(releases["releases"][0]["state"], "stable", "{releases}");
    assert_eq!(platform.barge_json(&project, &["status"])["replicas"], 3);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 6), ["A very good day to you from greeter 2"]);
}

#[test]
fn a_clock_that_jumps_ends_no_release_early_and_no_instance_at_all() {
    let Some(library) = faketime() else { return };
    let place = tempfile::tempdir().unwrap();
    let offset = place.path().join("offset");
    let set_clock = |text: &str| std::fs::write(&offset, text).unwrap();
    set_clock("+0");
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let platform = TestPlatform::start_in(Surroundings { env, ..Surroundings::default() });
    let project = greeter(&platform, 3);
    release_first(&platform, &project);
    let manifest = "name: greeter\nkind: web\nreplicas: 3\nrollout: {gate: {until: approved, for: 10m}}\n";
    std::fs::write(project.join("barge.yaml"), manifest).unwrap();
    under_load(load_plan(&platform, "greeter"), |phase| {
        for (number, jump) in ["+1h", "-1h", "+0"].into_iter().enumerate() {
            greeter_version(&project, if number % 2 == 0 { "better" } else { "good" });
            platform.barge(&project, &["deploy"]);
            let before = platform.instance_processes();
            platform.barge(&project, &["approve"]);
            set_clock(jump);
            phase(jump);
            // Something happens, so that the engine looks at the clock.
            platform.barge(&project, &["scale", "4"]);
            wait_for("another instance", || platform.barge_json(&project, &["status"])["available"] == 5);
            let status = platform.barge_json(&project, &["status"]);
            assert_eq!(status["waiting_on"]["on"], "hold", "ten minutes have not passed: {status}");
            let now = platform.instance_processes();
            assert!(before.iter().all(|pid| now.contains(pid)), "an instance ended because of a clock");
            platform.barge(&project, &["abort"]);
            platform.barge(&project, &["scale", "3"]);
            wait_for("the end of the release", || {
                let status = platform.barge_json(&project, &["status"]);
                status["waiting_on"]["on"] == "nothing" && status["available"] == 3
            });
        }
    });
}

/// libfaketime, where Debian puts it.
fn faketime() -> Option<PathBuf> {
    tool("faketime")?;
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|kind| PathBuf::from(format!("/usr/lib/{kind}/faketime/libfaketime.so.1")))
        .into_iter()
        .find(|path| path.is_file());
    if found.is_none() {
        barge_testkit::skipped("libfaketime is not where it was looked for");
    }
    found
}

/// A damage to a file, and what it is.
type Damage = (&'static str, fn(&mut Vec<u8>));

/// What `barge up` says when it must not start.
pub(crate) fn refused_to_start(platform: &TestPlatform) -> String {
    let output = Command::new(barge_binary())
        .args(["up", "--any-port", "--no-login", "--data"])
        .arg(platform.data())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    told
}

#[test]
fn a_damaged_database_is_named_kept_and_can_be_begun_anew_without_stopping_anything() {
    let Some(python) = tool("python3") else { return };
    let mut platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let before = platform.instance_processes();
    platform.kill();
    let database = platform.data().join("server.sqlite");
    // Everything into the one file that is to be damaged.
    let whole =
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('pragma wal_checkpoint(truncate)').fetchall()";
    assert!(Command::new(python).args(["-c", whole]).arg(&database).status().unwrap().success());
    for wal in ["server.sqlite-wal", "server.sqlite-shm"] {
        let _ = std::fs::remove_file(platform.data().join(wal));
    }
    let whole = std::fs::read(&database).unwrap();
    let damages: [Damage; 3] = [
        ("its first page is something else", |bytes| bytes[..16].copy_from_slice(b"not a database!!")),
        ("its middle is overwritten", |bytes| bytes[4096..12288].fill(0xA5)),
        ("half of it is gone", |bytes| bytes.truncate(bytes.len() / 2)),
    ];
    for (what, damage) in damages {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&database, &bytes).unwrap();
        let told = refused_to_start(&platform);
        assert!(told.contains("server.sqlite"), "{what}: {told}");
        assert!(told.contains("hint: ") && told.contains("mv "), "{what}: {told}");
        assert_eq!(std::fs::read(&database).unwrap(), bytes, "{what}: the file is as it was");
        assert_eq!(platform.instance_processes(), before, "{what}: nothing that serves was touched");
    }
    // The way out that the hint names.
    std::fs::rename(&database, platform.data().join("server.sqlite.damaged")).unwrap();
    platform.up();
    assert_eq!(platform.instance_processes(), before);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["Hello from greeter 1"]);
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    platform.barge(&project, &["approve", "--wait", "complete"]);
    assert_eq!(answers(&load_plan(&platform, "greeter"), 4), ["A very good day to you from greeter 2"]);
}

#[test]
fn after_a_power_cut_that_tore_the_last_write_everything_acknowledged_is_there() {
    let mut platform = TestPlatform::start();
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    platform.kill();
    let wal = platform.data().join("server.sqlite-wal");
    let length = std::fs::metadata(&wal).map(|meta| meta.len()).unwrap_or(0);
    assert!(length > 0, "there is no log to tear");
    // A torn write: a frame's beginning, and garbage where its end should be.
    let mut file = std::fs::OpenOptions::new().append(true).read(true).open(&wal).unwrap();
    let mut frame = vec![0; 2000];
    file.seek(SeekFrom::Start(32)).unwrap();
    file.read_exact(&mut frame).unwrap();
    file.write_all(&frame).unwrap();
    drop(file);
    platform.up();
    wait_for("all instances to be available", || platform.barge_json(&project, &["status"])["available"] == 2);
    let releases = platform.barge_json(&project, &["releases"]);
    assert_eq!(releases["releases"][0]["state"], "stable", "{releases}");
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    platform.barge(&project, &["approve", "--wait", "complete"]);
}

#[test]
fn too_few_descriptors_cost_new_connections_and_nothing_else() {
    let Some(prlimit) = tool("prlimit") else { return };
    let prefix = vec![prlimit.display().to_string(), "--nofile=256".to_owned()];
    let platform = TestPlatform::start_in(Surroundings { prefix, ..Surroundings::default() });
    let project = greeter(&platform, 2);
    release_first(&platform, &project);
    let plan = load_plan(&platform, "greeter");
    let silent: Vec<TcpStream> = (0..400).filter_map(|_| silent(&platform.gateway.to_string())).collect();
    assert!(silent.len() >= 100, "they are in the listener's queue at least");
    assert_eq!(platform.barge_json(&project, &["status"])["available"], 2, "the API is there");
    greeter_version(&project, "better");
    platform.barge(&project, &["deploy"]);
    platform.barge(&project, &["approve", "--wait", "complete"]);
    drop(silent);
    assert_eq!(answers(&plan, 4), ["A very good day to you from greeter 2"]);
}

/// A connection that says nothing.
fn silent(address: &str) -> Option<TcpStream> {
    let address = address.trim_start_matches("http://").parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()
}

#[test]
fn two_thousand_clients_that_say_nothing_keep_nobody_out() {
    let platform = TestPlatform::start();
    let project = greeter(&platform, 1);
    release_first(&platform, &project);
    raise_own_limit();
    let silent: Vec<TcpStream> = (0..2000).filter_map(|_| silent(&platform.address)).collect();
    assert_eq!(silent.len(), 2000);
    let begin = Instant::now();
    assert_eq!(platform.barge_json(&project, &["status"])["available"], 1);
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
}

fn raise_own_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).unwrap();
}
