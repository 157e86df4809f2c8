//! Whether anything grows: what was measured at the beginning of a soak, against what was measured at its end. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::measure::{Life, Measured, Sample, Who};

/// A process has to be measured so often before its memory is judged: a quarter of fewer has no median worth the name.
const LEAST_SAMPLES: usize = 24;

/// By so much may memory grow from the second quarter of a process's life to the last. The first quarter is not looked at: caches fill
/// then, and an allocator keeps what it once needed. Afterwards there is a reason to grow in the gateway alone, which remembers for a day
/// that an instance has ended, with less than a KiB for each; the rest is that pages come and go. In an hour, 15% and 4 MiB are some ten
/// bytes for each request and some ten KiB for each operation.
fn may_become(resident: u64) -> u64 {
    resident + resident * 15 / 100 + 4 * 1024 * 1024
}

/// How much more of what is counted there may be than there was in the first quarter. Operations do not keep to one number of instances, of
/// which two services have up to four more at the end than at the beginning.
mod slack {
    /// The instance and its barge-init, of eight instances.
    pub(super) const PROCESSES: u64 = 16;
    /// A platform has two for each instance; a gateway has one for each client of the load that has asked it lately.
    pub(super) const DESCRIPTORS: u64 = 48;
    /// Of pools that let their threads go after a while.
    pub(super) const THREADS: u64 = 16;
}

/// Less than so many do not make four quarters.
const FEW_SAMPLES: usize = 4;

/// One thing that was measured, in every sample.
struct Row {
    what: String,
    values: Vec<u64>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Judged elsewhere.
    Bytes,
    /// Judged here, with so much slack.
    Number(u64),
}

/// What has grown, in words; of a few samples nothing can be said.
pub(super) fn objections(samples: &[Sample]) -> Vec<String> {
    if samples.len() < FEW_SAMPLES {
        return Vec::new();
    }
    let grown = rows(samples).into_iter().filter_map(|row| {
        let Kind::Number(slack) = row.kind else { return None };
        let (begin, most) = (most(quarter(&row.values, 0)), most(&row.values));
        (most > begin + slack).then(|| format!("{}: at most {begin} in the first quarter, {most} later", row.what))
    });
    grown.chain(memory(samples)).collect()
}

/// Each process's memory by itself: one that was killed begins anew.
fn memory(samples: &[Sample]) -> Vec<String> {
    let mut lives: BTreeMap<(Who, Life), Vec<u64>> = BTreeMap::new();
    for one in samples.iter().flat_map(|sample| &sample.measured) {
        lives.entry((one.who, one.life)).or_default().push(one.resident);
    }
    lives.retain(|_, values| values.len() >= LEAST_SAMPLES);
    let judged = lives.into_iter().filter_map(|((who, (pid, _)), values)| {
        let (second, last) = (median(quarter(&values, 1)), median(quarter(&values, 3)));
        let words = || format!("{}, process {pid}: memory grew from {} to {}", who.name(), bytes(second), bytes(last));
        (last > may_become(second)).then(words)
    });
    judged.collect()
}

/// The first quarter beside the last, as Markdown.
pub(super) fn table(samples: &[Sample]) -> String {
    let mut text = String::from("| | first quarter | last quarter | most |\n| --- | --- | --- | --- |\n");
    for row in rows(samples) {
        let show = |value: u64| if row.kind == Kind::Bytes { bytes(value) } else { value.to_string() };
        let (first, last) = (median(quarter(&row.values, 0)), median(quarter(&row.values, 3)));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {} | {} | {} |", row.what, show(first), show(last), show(most(&row.values)));
    }
    text
}

fn rows(samples: &[Sample]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |what: String, kind: Kind, value: &dyn Fn(&Sample) -> u64| {
        rows.push(Row { what, kind, values: samples.iter().map(value).collect() });
    };
    for who in [Who::Platform, Who::Gateway, Who::Init] {
        // Of several processes, the one that has most.
        let of = |sample: &Sample, value: fn(&Measured) -> u64| {
            sample.measured.iter().filter(|one| one.who == who).map(value).max().unwrap_or_default()
        };
        row(format!("{}: memory", who.name()), Kind::Bytes, &|sample| of(sample, |one| one.resident));
        let (descriptors, threads) = (Kind::Number(slack::DESCRIPTORS), Kind::Number(slack::THREADS));
        row(format!("{}: descriptors", who.name()), descriptors, &|sample| of(sample, |one| one.descriptors));
        row(format!("{}: threads", who.name()), threads, &|sample| of(sample, |one| one.threads));
    }
    row("processes".to_owned(), Kind::Number(slack::PROCESSES), &|sample| sample.processes);
    row("disk: registry".to_owned(), Kind::Bytes, &|sample| sample.disk.registry);
    row("disk: database".to_owned(), Kind::Bytes, &|sample| sample.disk.database);
    row("disk: engine".to_owned(), Kind::Bytes, &|sample| sample.disk.engine);
    row("disk: registrar".to_owned(), Kind::Bytes, &|sample| sample.disk.registrar);
    row("disk: gateway".to_owned(), Kind::Bytes, &|sample| sample.disk.gateway);
    row("disk: everything else".to_owned(), Kind::Bytes, &|sample| sample.disk.others);
    rows
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Platform => "platform",
            Who::Gateway => "gateway",
            Who::Init => "the largest barge-init",
        }
    }
}

/// The first, second, third or last quarter, from 0.
fn quarter(values: &[u64], which: usize) -> &[u64] {
    &values[values.len() * which / 4..values.len() * (which + 1) / 4]
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn most(values: &[u64]) -> u64 {
    values.iter().copied().max().unwrap_or_default()
}

fn bytes(value: u64) -> String {
    match value >> 20 {
        0 => format!("{:.1} KiB", value as f64 / 1024.0),
        _ => format!("{:.1} MiB", value as f64 / f64::from(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::disk::Disk;

    const MIB: u64 = 1 << 20;

    /// A hundred samples of a gateway and a platform, which is killed now and then.
    fn samples(change: impl Fn(u64, &mut Sample)) -> Vec<Sample> {
        let one = |who, life| Measured { who, life, resident: 30 * MIB, descriptors: 40, threads: 8 };
        let sample = |number: u64| {
            let measured = vec![one(Who::Platform, (7, number / 50)), one(Who::Gateway, (8, 0))];
            let mut sample = Sample { measured, processes: 16, disk: Disk::default() };
            change(number, &mut sample);
            sample
        };
        (0..100).map(sample).collect()
    }

    #[test]
    fn what_stays_as_it_is_is_flat() {
        assert_eq!(objections(&samples(|_, _| ())), Vec::<String>::new());
        // Growth at the beginning is allowed, and so is a new process's.
        let warm = samples(|number, sample| {
            sample.measured[0].resident += (number % 50).min(12) * MIB;
            sample.measured[1].resident += number.min(25) * MIB;
            sample.measured[1].descriptors += number % 20;
        });
        assert_eq!(objections(&warm), Vec::<String>::new());
        assert!(table(&warm).contains("| gateway: memory | 42.0 MiB | 55.0 MiB | 55.0 MiB |"), "{}", table(&warm));
    }

    #[test]
    fn every_leak_is_found() {
        let memory = samples(|number, sample| sample.measured[1].resident += number * MIB / 4);
        let told = objections(&memory);
        assert!(told.len() == 1 && told[0].starts_with("gateway, process 8: memory grew"), "{told:?}");
        let platform = samples(|number, sample| sample.measured[0].resident += number % 50 * MIB);
        assert_eq!(objections(&platform).len(), 2, "in each of its two lives");
        let descriptors = samples(|number, sample| sample.measured[0].descriptors += number);
        assert_eq!(objections(&descriptors), ["platform: descriptors: at most 64 in the first quarter, 139 later"]);
        let processes = samples(|number, sample| sample.processes += number);
        assert_eq!(objections(&processes), ["processes: at most 40 in the first quarter, 115 later"]);
        let threads = samples(|number, sample| sample.measured[1].threads += number);
        assert_eq!(objections(&threads), ["gateway: threads: at most 32 in the first quarter, 107 later"]);
    }
}
