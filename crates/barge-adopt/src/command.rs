//! The program that is started, from Kubernetes' way of saying it to barge-init's.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Container;

use crate::{Refusal, Runtime};

/// The words of the command. What the Deployment says takes the place of what the image says, as Kubernetes has it; `names` are
/// variables that words may name.
pub(crate) fn words(
    container: &Container,
    runtime: Option<&Runtime>,
    names: &BTreeSet<&str>,
) -> Result<Vec<String>, Refusal> {
    let said =
        |words: &Option<Vec<String>>| words.iter().flatten().map(|word| translate(word, names)).collect::<Vec<_>>();
    let of_image = |words: fn(&Runtime) -> &Vec<String>| {
        runtime.map(words).into_iter().flatten().map(|word| plain(word)).collect::<Vec<_>>()
    };
    let (command, arguments) = (said(&container.command), said(&container.args));
    let words = match (command.is_empty(), arguments.is_empty()) {
        (false, _) => [command, arguments].concat(),
        (true, false) => [of_image(|image| &image.entrypoint), arguments].concat(),
        (true, true) => [of_image(|image| &image.entrypoint), of_image(|image| &image.command)].concat(),
    };
    // Arguments alone are none: without the image nobody knows of what.
    let known = !container.command.as_ref().is_none_or(Vec::is_empty) || runtime.is_some();
    if known && words.first().is_some_and(|word| !word.is_empty()) { Ok(words) } else { Err(Refusal::NoCommand) }
}

/// A word in which barge-init replaces nothing.
pub(crate) fn plain(word: &str) -> String {
    word.replace('$', "$$")
}

/// `$(NAME)` is `${NAME}` there, and `$$(NAME)` is `$(NAME)`. A name that nobody knows stays as it is written.
fn translate(word: &str, names: &BTreeSet<&str>) -> String {
    let mut out = String::new();
    for part in references(word) {
        match part {
            Part::Name(name) if names.contains(name) => out.push_str(&format!("${{{name}}}")),
            Part::Name(name) => out.push_str(&plain(&format!("$({name})"))),
            Part::Text(text) => out.push_str(&plain(text)),
        }
    }
    out
}

/// A piece of a text in which Kubernetes replaces `$(NAME)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// The pieces, with `$$` already the one `$` that it stands for.
pub(crate) fn references(text: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find('$') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        parts.push(Part::Text(before));
        let name = after.strip_prefix('(').and_then(|inner| Some(&inner[..inner.find(')')?]));
        (parts, rest) = match name {
            Some(name) => (with(parts, Part::Name(name)), &after[name.len() + 2..]),
            None if after.starts_with('$') => (with(parts, Part::Text("$")), &after[1..]),
            None => (with(parts, Part::Text("$")), after),
        };
    }
    parts.push(Part::Text(rest));
    parts.retain(|part| *part != Part::Text(""));
    parts
}

fn with<'a>(mut parts: Vec<Part<'a>>, part: Part<'a>) -> Vec<Part<'a>> {
    parts.push(part);
    parts
}
