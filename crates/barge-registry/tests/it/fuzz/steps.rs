//! What clients do to a registry: what they should, and everything else.

use axum::body::{Body, Bytes};
use barge_testkit::fuzz::{Damage, damages};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::digest;

/// Names that a repository may have, and names that lead elsewhere.
const REPOSITORIES: [&str; 9] = ["a", "a", "a", "group/b", "..", "a/../b", "_barge", "A", "a%2f.."];
/// Texts in the place of a digest.
const NO_DIGESTS: [&str; 5] = ["", "sha256:12", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:..%2f..", "latest"];
/// What a manifest is made of.
const WORDS: [&str; 5] = ["\"sha256:\"", "\"latest\"", "\"config\"", "\"manifests\":[{\"digest\":\"x\"}],", "[{}]"];

/// A body.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    letter: u8,
    pub(super) size: usize,
    /// The connection ends after the first half.
    pub(super) breaks: bool,
}

impl Sent {
    pub(super) fn content(&self) -> Vec<u8> {
        vec![self.letter; self.size]
    }

    pub(super) fn body(&self) -> Body {
        let content = self.content();
        if !self.breaks {
            return Body::from(content);
        }
        let half = Bytes::copy_from_slice(&content[..content.len() / 2]);
        let end = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        Body::from_stream(futures_util::stream::iter([Ok(half), Err(end)]))
    }
}

/// Where a piece says that it starts.
#[derive(Debug, Clone)]
pub(super) enum Start {
    Unsaid,
    Right,
    At(u64),
    Odd(&'static str),
}

impl Start {
    pub(super) fn header(&self, have: usize) -> Option<String> {
        match self {
            Start::Unsaid => None,
            Start::Right => Some(format!("{have}-{have}")),
            Start::At(at) => Some(format!("{at}-9")),
            Start::Odd(text) => Some((*text).to_owned()),
        }
    }

    pub(super) fn fits(&self, have: usize) -> bool {
        match self {
            Start::Unsaid | Start::Right => true,
            Start::At(at) => *at == have as u64,
            Start::Odd(_) => false,
        }
    }
}

/// Which digest is named.
#[derive(Debug, Clone)]
pub(super) enum Named {
    /// The one of what was sent.
    Right,
    /// The one of something else.
    Other,
    /// None.
    Odd(&'static str),
}

impl Named {
    pub(super) fn text(&self, content: &[u8]) -> String {
        match self {
            Named::Right => digest(content),
            Named::Other => digest(b"something else"),
            Named::Odd(text) => (*text).to_owned(),
        }
    }
}

/// What somebody does next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Begin(&'static str),
    Append(Index, Start, Sent),
    Finish(Index, Start, Named, Sent),
    Cancel(Index),
    Whole(&'static str, Named, Sent),
    Mount(&'static str, Index),
    Manifest(&'static str, Index, &'static str, Vec<Damage>),
    Delete(Index),
    Collect,
    Reopen,
}

/// Any step.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let repository = || prop::sample::select(REPOSITORIES.to_vec());
    let sizes = prop_oneof![3 => 0usize..20, 4 => 200usize..900, 1 => Just(5000usize)];
    let sent = (b'a'..=b'c', sizes, prop::bool::weighted(0.15));
    let sent = sent.prop_map(|(letter, size, breaks)| Sent { letter, size, breaks }).boxed();
    let odd = prop::sample::select(vec!["", "four", "0", "-", "-1-3", "18446744073709551616-1", "bytes 0"]);
    let start = prop_oneof![
        4 => Just(Start::Unsaid),
        4 => Just(Start::Right),
        1 => (0u64..20).prop_map(Start::At),
        1 => Just(Start::At(u64::MAX)),
        1 => odd.prop_map(Start::Odd),
    ]
    .boxed();
    let named = prop_oneof![
        6 => Just(Named::Right),
        1 => Just(Named::Other),
        1 => prop::sample::select(NO_DIGESTS.to_vec()).prop_map(Named::Odd),
    ]
    .boxed();
    let reference = prop::sample::select(vec!["latest", "1", "", "..", "a%2fb", "by digest", "by another digest"]);
    let index = any::<Index>;
    prop_oneof![
        4 => repository().prop_map(Step::Begin),
        8 => (index(), start.clone(), sent.clone()).prop_map(|(at, start, sent)| Step::Append(at, start, sent)),
        6 => (index(), start, named.clone(), sent.clone())
            .prop_map(|(at, start, named, sent)| Step::Finish(at, start, named, sent)),
        2 => index().prop_map(Step::Cancel),
        6 => (repository(), named, sent).prop_map(|(repository, named, sent)| Step::Whole(repository, named, sent)),
        2 => (repository(), index()).prop_map(|(repository, blob)| Step::Mount(repository, blob)),
        6 => (repository(), index(), reference, damages(&WORDS))
            .prop_map(|(repository, parts, by, damages)| Step::Manifest(repository, parts, by, damages)),
        2 => index().prop_map(Step::Delete),
        1 => Just(Step::Collect),
        1 => Just(Step::Reopen),
    ]
}
