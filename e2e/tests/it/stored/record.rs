//! Looks at everything that is stored of a service, whenever something of it is replaced: what the platform's parts themselves have
//! written, whatever the platform says of it.
//!
//! A look takes several files. They are read until they read the same twice, so that a look shows one moment and not several.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use barge_model::registration::{Intent, Registration};
use barge_model::rollout::{RolloutSpec, RolloutStatus};
use barge_model::{InstanceId, ReleaseId};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is stored of a service at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    /// What people want, as the engine was told.
    pub(crate) wanted: RolloutSpec,
    /// What the rollout machine has decided.
    pub(crate) status: RolloutStatus,
    /// The engine's instances.
    pub(crate) instances: BTreeMap<InstanceId, Kept>,
    /// What the registrar wants the gateway to know.
    pub(crate) journal: BTreeMap<InstanceId, Registration>,
    /// What the gateway goes by.
    pub(crate) gateway: BTreeMap<InstanceId, Registered>,
    /// When the gateway has stored that, in milliseconds since the Unix epoch.
    pub(crate) gateway_at: i64,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The oldest first.
    pub(crate) looks: Vec<Look>,
    /// When each instance was ready for the first time, by its barge-init's own clock: it may tell that before it writes it down.
    pub(crate) ready: BTreeMap<InstanceId, i64>,
}

/// An instance: what the engine and its barge-init have stored of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) release: ReleaseId,
    pub(crate) restarts: u32,
    /// Its end has begun.
    pub(crate) draining: bool,
    /// Its start has failed, and it is kept.
    pub(crate) held: bool,
    /// Its process was told to stop, or is about to be.
    pub(crate) stopping: bool,
}

/// What the gateway has of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) generation: u64,
    pub(crate) state: Intent,
}

/// Files by their paths.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A moment: its files, and when that of the gateway was written.
type Moment = (Files, i64);

/// What a barge-init writes once its instance was ready.
const READY: &[u8] = b"\"was_ready\":true";

/// A moment that does not hold still is left out after so many tries; what moves brings the next look.
const TRIES: usize = 20;

/// Where everything of a service is stored.
struct Places {
    name: String,
    service: PathBuf,
    journal: PathBuf,
    gateway: PathBuf,
}

impl Places {
    fn instances(&self) -> PathBuf {
        self.service.join("instances")
    }

    /// What can be read now; files come and go.
    fn read(&self) -> Files {
        let of_instance = |directory: PathBuf| [directory.join("instance.json"), directory.join("status.json")];
        let instances = list(&self.instances()).into_iter().flat_map(of_instance);
        let journal = list(&self.journal).into_iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
        let own = ["desired.json", "status.json"].map(|name| self.service.join(name));
        let all = own.into_iter().chain(instances).chain(journal).chain([self.gateway.clone()]);
        all.filter_map(|path| std::fs::read(&path).ok().map(|bytes| (path, bytes))).collect()
    }

    /// One moment, unless everything moves. Readiness is noted from every reading: what a barge-init has said stands for itself, and its
    /// file may be gone with the next start.
    fn moment(&self, said: &mut Files) -> Option<Moment> {
        let mut before = self.read();
        for _ in 0..TRIES {
            let statuses = before.iter().filter(|(path, bytes)| self.is_ready(path, bytes));
            for (path, bytes) in statuses {
                said.entry(path.clone()).or_insert_with(|| bytes.clone());
            }
            let written = std::fs::metadata(&self.gateway).ok().and_then(|meta| meta.modified().ok());
            let now = self.read();
            if now == before {
                let at = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
                return Some((now, i64::try_from(at.as_millis()).unwrap()));
            }
            before = now;
        }
        None
    }

    fn is_ready(&self, path: &Path, bytes: &[u8]) -> bool {
        let of_instance = path.ends_with("status.json") && path.starts_with(self.instances());
        of_instance && bytes.windows(READY.len()).any(|part| part == READY)
    }

    /// When an instance was ready for the first time, as the first status says that says so.
    fn ready(said: &Files) -> BTreeMap<InstanceId, i64> {
        let of_status = |bytes: &Vec<u8>| -> Option<(InstanceId, i64)> {
            let status: Value = serde_json::from_slice(bytes).unwrap();
            let steps = status["timeline"].as_array()?;
            let ready =
                steps.iter().find(|step| step["what"].as_str().is_some_and(|what| what.starts_with("ready")))?;
            Some((part(&status["instance"])?, part(&ready["at"])?))
        };
        said.values().filter_map(of_status).collect()
    }

    fn look(&self, (files, gateway_at): &Moment) -> Look {
        let file = |path: &Path| -> Value {
            files.get(path).map(|bytes| serde_json::from_slice(bytes).unwrap()).unwrap_or_default()
        };
        let mut look = Look {
            wanted: part(&file(&self.service.join("desired.json"))["rollout"]).unwrap_or_default(),
            status: part(&file(&self.service.join("status.json"))).unwrap_or_default(),
            gateway_at: *gateway_at,
            ..Look::default()
        };
        for path in files.keys().filter(|path| path.ends_with("instance.json")) {
            let (record, said) = (file(path), file(&path.with_file_name("status.json")));
            let kept = Kept {
                release: part(&record["release"]).unwrap(),
                restarts: part(&record["restarts"]).unwrap(),
                draining: record["draining"] == true,
                held: !record["failed"].is_null() || said["phase"] == "held",
                stopping: said["phase"] == "stopping",
            };
            look.instances.insert(part(&record["id"]).unwrap(), kept);
        }
        for path in files.keys().filter(|path| path.parent() == Some(self.journal.as_path())) {
            let entry = file(path);
            if entry["key"]["service"] == self.name.as_str() {
                let id = path.file_stem().unwrap().to_string_lossy().into_owned();
                look.journal.insert(InstanceId::new(id).unwrap(), part(&entry["registration"]).unwrap());
            }
        }
        let listed = file(&self.gateway)["instances"].as_array().cloned().unwrap_or_default();
        for one in listed.iter().filter(|one| one[0]["service"] == self.name.as_str()) {
            let (generation, state) = (part(&one[1]["generation"]).unwrap(), part(&one[1]["state"]).unwrap());
            look.gateway.insert(part(&one[1]["uid"]).unwrap(), Registered { generation, state });
        }
        look
    }
}

/// Nothing where there is nothing.
fn part<T: DeserializeOwned>(value: &Value) -> Option<T> {
    (!value.is_null()).then(|| serde_json::from_value(value.clone()).unwrap())
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Looks until it is told to end.
pub(crate) struct Record {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

impl Record {
    /// Begins with a service of the platform whose files are below `data`, and which was released before. `gateway` is the snapshot of its
    /// gateway.
    pub(crate) fn begin(data: &Path, gateway: PathBuf, service: &str) -> Self {
        let places = Places {
            name: service.to_owned(),
            service: data.join("engine/services/local").join(service),
            journal: data.join("registrar"),
            gateway,
        };
        let changes = Changes::watch(&places);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut said = Files::new();
            let mut moments: Vec<Moment> = places.moment(&mut said).into_iter().collect();
            // What has changed before the end is looked at, too.
            loop {
                let last = stopped.load(Ordering::SeqCst);
                if changes.any() {
                    let seen = places.moment(&mut said).filter(|now| moments.last() != Some(now));
                    moments.extend(seen);
                } else if last {
                    break;
                } else {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let looks = moments.iter().map(|moment| places.look(moment)).collect();
            Seen { looks, ready: Places::ready(&said) }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it, and gives what was seen.
    pub(crate) fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A thread that broke has said so already.
            let _ = thread.join();
        }
    }
}

/// Notices what is replaced.
struct Changes {
    inotify: Inotify,
    instances: PathBuf,
    of_instances: WatchDescriptor,
}

impl Changes {
    fn watch(places: &Places) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        let watch = |path: &Path, what| inotify.add_watch(path, what).unwrap();
        let instances = places.instances();
        let of_instances = watch(&instances, AddWatchFlags::IN_CREATE);
        for directory in list(&instances) {
            watch(&directory, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE);
        }
        watch(&places.service, AddWatchFlags::IN_MOVED_TO);
        watch(&places.journal, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE);
        watch(places.gateway.parent().unwrap(), AddWatchFlags::IN_MOVED_TO);
        Self { inotify, instances, of_instances }
    }

    /// Whether there was one since the last question. New instances are watched from here on.
    fn any(&self) -> bool {
        let events = match self.inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN) => return false,
            Err(error) => panic!("the files cannot be watched: {error}"),
        };
        let made = events.iter().filter(|event| event.wd == self.of_instances).filter_map(|event| event.name.as_ref());
        for name in made {
            // It may be gone again.
            let what = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
            let _ = self.inotify.add_watch(&self.instances.join(name), what);
        }
        !events.is_empty()
    }
}
