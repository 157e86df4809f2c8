//! Sees every store of the two machines as it happens, and acts at one of them: how a story kills somebody at a moment that is no matter
//! of time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// What is done at a point. It gives the process that it has killed; nothing where nobody was there.
pub(crate) type Act = Box<dyn FnOnce() -> Option<u32> + Send>;

/// What came of an act.
#[derive(Debug, Clone)]
pub(crate) struct Acted {
    /// What was stored at its point.
    pub(crate) stored: String,
    /// Who was killed, if anybody was there.
    pub(crate) killed: Option<u32>,
}

/// A watch over a platform's files.
pub(crate) struct Points {
    seen: Arc<AtomicUsize>,
    acted: Arc<Mutex<Option<Acted>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Points {
    /// Watches the rollout of a service and the registrar's journal below `data`; at point `at`, `act` is called.
    pub(crate) fn watch(data: &Path, service: &str, mut at: Option<(usize, Act)>) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        for directory in [data.join("engine/services/local").join(service), data.join("registrar")] {
            inotify.add_watch(&directory, AddWatchFlags::IN_MOVED_TO).unwrap();
        }
        let seen = Arc::new(AtomicUsize::new(0));
        let acted = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, done, stopped) = (Arc::clone(&seen), Arc::clone(&acted), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let events = match inotify.read_events() {
                    Ok(events) => events,
                    Err(Errno::EAGAIN) => {
                        std::thread::sleep(Duration::from_micros(100));
                        continue;
                    }
                    Err(error) => panic!("the files cannot be watched: {error}"),
                };
                for name in events.into_iter().filter_map(|event| event.name) {
                    let stored = name.to_string_lossy().into_owned();
                    // Of the service's own files only the rollout's status is a machine's.
                    if stored == "desired.json" {
                        continue;
                    }
                    let point = count.fetch_add(1, Ordering::SeqCst);
                    if at.as_ref().is_some_and(|(at, _)| *at == point)
                        && let Some((_, act)) = at.take()
                    {
                        let killed = act();
                        *done.lock().unwrap() = Some(Acted { stored, killed });
                    }
                }
            }
        });
        Self { seen, acted, stop, thread: Some(thread) }
    }

    /// How many stores were seen so far.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// What came of the act, if its point has come.
    pub(crate) fn acted(&self) -> Option<Acted> {
        self.acted.lock().unwrap().clone()
    }
}

impl Points {
    /// Ends the watch, so that nobody is killed from here on; the result is what came of the act, if its point has come.
    pub(crate) fn end(mut self) -> Option<Acted> {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watch broke");
        }
        self.acted()
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A thread that broke has said so already.
            let _ = thread.join();
        }
    }
}
