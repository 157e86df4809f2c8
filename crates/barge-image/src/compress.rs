//! Compresses on all cores, to the same bytes on any number of them.
//!
//! Deflate is what takes the time of a build, many times as long as reading and hashing together. So the input is cut into blocks of
//! a fixed size, each becomes a gzip member of its own, and members follow each other (RFC 1952, 2.2: a gzip file is a series of
//! members; every reader of layers takes that).
//!
//! Most of what a Java program brings is compressed already: its libraries. Compressing 105 MB of jars once more takes 3.1 s of one core
//! and saves a tenth. So a block of which samples hardly shrink is stored as it is, which takes next to no time here and wherever the image
//! is pulled; of those jars 18 of 101 blocks are compressed, which saves 4 %.
//!
//! flate2's back ends give different bytes for the same input. The workspace names `zlib-rs`, and a test holds the digest of a
//! known layer, so that a change of back end cannot pass unseen.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::write::DeflateEncoder;
use flate2::{Compression, GzBuilder};

/// Bytes in a block: small enough to keep all cores busy with a layer of a few megabytes, large enough that cutting costs no size.
const BLOCK: usize = 1 << 20;
/// No more threads than this, for machines with very many cores.
const MOST_THREADS: usize = 8;

/// Of a program of 16 MB, level 6 makes 6.4 MB in about 240 ms of one core, level 3 6.6 MB in 160, level 1 8.3 MB in 90.
const LEVEL: u32 = 3;

/// What decides about the bytes: the back end with its version, the level, where blocks end, and which of them are only stored. A test
/// compares it with the lock file.
pub(crate) const COMPRESSOR: &str = "zlib-rs 0.6.8 level 3 blocks of 1 MiB, stored below 10 %";

/// So many samples of a block say whether it is compressed, each of so many bytes.
const SAMPLES: usize = 4;
const SAMPLE: usize = 16 * 1024;

type Compressed = io::Result<Vec<u8>>;
type Job = (Vec<u8>, Sender<Compressed>);

/// Compresses what is written to it and writes it on.
pub(crate) struct Compressor<W> {
    out: W,
    block: Vec<u8>,
    /// Blocks on their way, in order.
    under_way: VecDeque<Receiver<Compressed>>,
    /// None as long as one block was enough.
    workers: Option<Workers>,
}

struct Workers {
    jobs: Sender<Job>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Write> Compressor<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, block: Vec::new(), under_way: VecDeque::new(), workers: None }
    }

    /// Writes the rest and gives the target back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.block);
        if self.workers.is_some() {
            self.hand_over(last)?;
        } else {
            self.out.write_all(&compress(&last)?)?;
        }
        while !self.under_way.is_empty() {
            self.write_first()?;
        }
        if let Some(workers) = self.workers.take() {
            drop(workers.jobs);
            for thread in workers.threads {
                thread.join().map_err(|_| lost())?;
            }
        }
        Ok(self.out)
    }

    fn hand_over(&mut self, block: Vec<u8>) -> io::Result<()> {
        let workers = self.workers.get_or_insert_with(Workers::start);
        // Enough to keep every worker busy; more would only fill the memory.
        let most = workers.threads.len() * 2;
        let (sender, receiver) = channel();
        workers.jobs.send((block, sender)).map_err(|_| lost())?;
        self.under_way.push_back(receiver);
        if self.under_way.len() > most {
            self.write_first()?;
        }
        Ok(())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some(first) = self.under_way.pop_front() else { return Ok(()) };
        self.out.write_all(&first.recv().map_err(|_| lost())??)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            let full = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
            self.hand_over(full)?;
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A block that is not full stays: where blocks end must depend on the content alone.
        Ok(())
    }
}

impl Workers {
    fn start() -> Self {
        let (jobs, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let work = |receiver: Arc<Mutex<Receiver<Job>>>| {
            move || loop {
                let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((block, answer)) = job else { return };
                // Nobody waits for it when the build was given up.
                let _ = answer.send(compress(&block));
            }
        };
        let threads = (0..count).map(|_| std::thread::spawn(work(Arc::clone(&receiver)))).collect();
        Self { jobs, threads }
    }
}

/// One gzip member. Operating system 255 (unknown) and no time: the header says nothing of the machine.
fn compress(block: &[u8]) -> Compressed {
    let (level, room) = if pays(block)? { (LEVEL, block.len() / 2) } else { (0, block.len() + 1024) };
    let out = Vec::with_capacity(room);
    let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(out, Compression::new(level));
    gzip.write_all(block)?;
    gzip.finish()
}

/// Whether compressing a block is worth its time, as a few samples of it say: they shrink by a tenth, compressed as fast as can be.
fn pays(block: &[u8]) -> io::Result<bool> {
    if block.len() < SAMPLES * SAMPLE {
        return Ok(true);
    }
    let mut deflate = DeflateEncoder::new(Vec::with_capacity(SAMPLES * SAMPLE), Compression::new(1));
    for sample in block.chunks(block.len() / SAMPLES).take(SAMPLES) {
        deflate.write_all(&sample[..SAMPLE])?;
    }
    Ok(deflate.finish()?.len() < SAMPLES * SAMPLE / 10 * 9)
}

fn lost() -> io::Error {
    io::Error::other("a compressing thread is gone")
}
