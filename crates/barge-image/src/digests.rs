//! The sums of what is planned: from the index where nothing has changed, else by reading, on all cores.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::cache::Cache;
use crate::cache::index::{Index, Noted, Stat};
use crate::hash::Sum;
use crate::layer::{self, LayerError};
use crate::plan::{Content, Entry, LayerPlan};

/// No more threads than this, for machines with very many cores.
const MOST_THREADS: usize = 8;

/// What one build knows of its files.
pub(crate) struct Digests<'a> {
    cache: &'a Cache,
    /// What all files have in common of their paths; it names the index.
    root: PathBuf,
    noted: Index,
    /// How each file was when this build began.
    begun: HashMap<PathBuf, Stat>,
    /// When that was.
    at: SystemTime,
    /// What the next build will know.
    found: Index,
    changed: bool,
}

impl<'a> Digests<'a> {
    /// Looks at all files of `plans`, before anything of them is read.
    pub(crate) fn new<'p>(cache: &'a Cache, plans: impl Iterator<Item = &'p LayerPlan>) -> Self {
        let sources: BTreeSet<&Path> = plans.flat_map(files).filter_map(|(content, _)| source(content)).collect();
        let root = common(&sources);
        let noted = cache.index(&root);
        // Before the first look: a file that changes in between is not taken for settled.
        let at = SystemTime::now();
        let stat = |path: &Path| Some((path.to_owned(), Stat::of(path)?));
        let begun = sources.into_iter().filter_map(stat).collect();
        Self { cache, root, noted, begun, at, found: Index::new(), changed: false }
    }

    /// The sums of a plan's files, in its order.
    pub(crate) fn of(&mut self, plan: &LayerPlan) -> Result<Vec<Sum>, LayerError> {
        let files: Vec<_> = files(plan).collect();
        let known: Vec<Option<Sum>> = files.iter().map(|(content, _)| self.known(content)).collect();
        let unknown: Vec<_> =
            files.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(file, _)| *file).collect();
        let mut read = sums(&unknown)?.into_iter();
        let sums: Vec<Sum> = known.into_iter().filter_map(|known| known.or_else(|| read.next())).collect();
        self.note(plan, &sums);
        Ok(sums)
    }

    fn known(&self, content: &Content) -> Option<Sum> {
        let path = source(content)?;
        let noted = self.noted.get(path).filter(|noted| self.begun.get(path) == Some(&noted.stat))?;
        match content {
            Content::Inside(inside) => noted.members.get(inside.member()).copied(),
            _ => noted.whole,
        }
    }

    /// Remembers what a plan's files hold.
    pub(crate) fn note(&mut self, plan: &LayerPlan, sums: &[Sum]) {
        for ((content, _), sum) in files(plan).zip(sums) {
            let Some((path, stat)) = source(content).and_then(|path| self.begun.get_key_value(path)) else { continue };
            self.changed |= self.known(content) != Some(*sum);
            let empty = || Noted { stat: *stat, whole: None, members: HashMap::new() };
            let noted = self.found.entry(path.clone()).or_insert_with(empty);
            match content {
                Content::Inside(inside) => _ = noted.members.insert(inside.member().to_owned(), *sum),
                _ => noted.whole = Some(*sum),
            }
        }
    }

    /// Keeps it for the next build, of those files that are still what they were in the beginning.
    pub(crate) fn keep(mut self) {
        if !self.changed && self.found.len() == self.noted.len() {
            return;
        }
        self.found.retain(|path, noted| noted.stat.is_settled(self.at) && Stat::of(path) == Some(noted.stat));
        self.cache.keep_index(&self.root, &self.found);
    }
}

/// A plan's files with their sizes, in its order.
fn files(plan: &LayerPlan) -> impl Iterator<Item = (&Content, u64)> {
    plan.values().filter_map(|entry| match entry {
        Entry::File { content, size, .. } => Some((content, *size)),
        Entry::Directory | Entry::Shared | Entry::Link { .. } => None,
    })
}

/// The file that holds the content.
fn source(content: &Content) -> Option<&Path> {
    match content {
        Content::Path(path) => Some(path),
        Content::Inside(inside) => Some(inside.archive()),
        Content::Bytes(_) => None,
    }
}

/// What absolute paths have in common; a single one is its own root.
fn common(paths: &BTreeSet<&Path>) -> PathBuf {
    let mut absolute = paths.iter().filter_map(|path| std::path::absolute(path).ok());
    let first = absolute.next().unwrap_or_default();
    absolute.fold(first, |root, path| {
        root.components().zip(path.components()).take_while(|(one, other)| one == other).map(|(part, _)| part).collect()
    })
}

/// Reads what has to be read.
fn sums(files: &[(&Content, u64)]) -> Result<Vec<Sum>, LayerError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(files.len());
    if threads <= 1 {
        return files.iter().map(|(content, size)| layer::sum(content, *size)).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(files.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, (content, size))) = take(files, &next) {
                    let sum = layer::sum(content, *size);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, sum));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Of several errors, the first in the plan's order is told, each time.
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, sum)| sum).collect()
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    items.get(at).map(|item| (at, item))
}
