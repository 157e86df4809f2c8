//! The parser's messages in words for somebody who has never seen the parser, and what was probably meant.
//!
//! The parser says everything in text. Each of its phrases that a mistake in `barge.yaml` can bring about is taken apart here; a
//! table in the tests holds them, so that a new version of the parser with other phrases is noticed.

/// The parser's message in plain words; `word` is what stands at the place of the mistake.
pub(super) fn plain(said: &str, word: &str) -> String {
    phrase(said, word).unwrap_or_else(|| said.to_owned())
}

fn phrase(said: &str, word: &str) -> Option<String> {
    let fixed = |text: &str| Some(text.to_owned());
    if let Some((wrong, known)) = unknown(said, "unknown field ") {
        return Some(format!("unknown field `{wrong}`; {}", choice("field", &known)));
    }
    if let Some((wrong, known)) = unknown(said, "unknown variant ") {
        let wrong =
            if wrong == "~" { "nothing is given here".to_owned() } else { format!("`{wrong}` is not known here") };
        return Some(format!("{wrong}; {}", choice("value", &known)));
    }
    if let Some(field) = said.strip_prefix("missing field ") {
        return Some(format!("{field} is missing"));
    }
    if let Some(rest) = said.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set ").next().unwrap_or(rest);
        return Some(format!("`{key}` is given twice"));
    }
    if let Some((found, expected)) = said.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        return Some(format!("expected {expected}, found {}", found_in_words(found)));
    }
    match said {
        "expected string scalar" => fixed("expected a single value"),
        "expected mapping start" => fixed("expected fields such as `name: value`, each on a line of its own"),
        "expected sequence start" => fixed("expected a list such as `[one, two]`"),
        "externally tagged enum expected scalar or mapping" => fixed("expected one word"),
        "alias references unknown anchor" => {
            Some(format!("`{word}` refers to nothing; to give a text that starts with '*', put it into quotes"))
        }
        "cannot deserialize tagged scalar into string" => {
            fixed("a YAML tag gives this text another type; leave the tag out")
        }
        _ if said.starts_with("cannot deserialize null") => fixed("expected a text, found nothing"),
        _ if said.starts_with("invalid u32") && word.parse::<u128>().is_ok() => Some(format!("`{word}` is too large")),
        _ if said.starts_with("invalid u32") => Some(format!("`{word}` is not a whole number of 0 or more")),
        _ if said.starts_with("multiple YAML documents") => fixed("a second document begins here; barge.yaml has one"),
        _ if said.starts_with("mapping values are not allowed") => {
            fixed("a second ': ' in one line; to give a text with ': ' in it, put it into quotes")
        }
        _ if said.contains("tab") && (said.contains("found a tab") || said.starts_with("tabs disallowed")) => {
            fixed("a tab stands where YAML allows spaces only")
        }
        "unclosed quote" => fixed("a quote is opened here and never closed"),
        _ if said.starts_with("unclosed bracket") => fixed("a bracket is opened here and never closed"),
        _ if said.starts_with("budget breached") || said.starts_with("alias replay limit") => {
            fixed("with its aliases written out the file is too large")
        }
        _ => None,
    }
}

/// "unknown field `x`, expected one of a, b" as the wrong word and the known ones.
fn unknown<'a>(said: &'a str, start: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let (wrong, known) = said.strip_prefix(start)?.split_once(", expected ")?;
    let known = known.trim_start_matches("one of ").split(", ").map(|word| word.trim_matches('`')).collect();
    Some((wrong.trim_matches('`'), known))
}

fn choice(what: &str, known: &[&str]) -> String {
    match known {
        [one] => format!("the only {what} here is `{one}`"),
        _ => format!("the {what}s here are {}", known.join(", ")),
    }
}

/// serde's words for what it found.
fn found_in_words(found: &str) -> String {
    match found {
        "map" => "fields".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "Option value" | "null" => "nothing".to_owned(),
        _ => found.split_once('`').map_or_else(|| found.to_owned(), |(_, value)| format!("`{value}")),
    }
}

/// What the writer probably meant.
pub(super) fn meant(said: &str, text: &str, line: u64) -> Option<String> {
    let unknown_word = unknown(said, "unknown field ").or_else(|| unknown(said, "unknown variant "));
    if let Some((wrong, known)) = unknown_word {
        return nearest(wrong, &known).map(|word| format!("did you mean `{word}`?")).or_else(|| elsewhere(wrong));
    }
    match said {
        "missing field `kind`" => {
            Some("add `kind: web` for HTTP, or `kind: rpc` for a protocol of your own".to_owned())
        }
        "missing field `name`" => Some("add `name: my-service`".to_owned()),
        _ if said.contains("tab") => tab_hint(text, line),
        _ => valid_name(said),
    }
}

/// The nearest of the known words, where it is near enough.
fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&wrong, word);
    let nearest = known.iter().min_by_key(|word| distance(word))?;
    (distance(nearest) <= 1 + wrong.len() / 3).then_some(*nearest)
}

/// Words that other tools know.
fn elsewhere(wrong: &str) -> Option<String> {
    let hint = match wrong.to_lowercase().as_str() {
        "port" | "ports" => "Barge chooses the port and gives it to the service as $PORT",
        "image" | "dockerfile" => "Barge makes the image itself; `build` says from which files",
        "http" | "https" | "grpc" | "thrift" | "tcp" => {
            "web is for HTTP behind the gateway, rpc for any other protocol"
        }
        "cmd" | "entrypoint" | "run" => "`command` is what starts the service",
        "volumes" | "secrets" => "a secret is a variable: `env: {NAME: {secret: NAME}}`",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// A name that is not valid, with its letters made valid.
fn valid_name(said: &str) -> Option<String> {
    let (what, rest) = said.split_once(" name \"")?;
    let wrong = rest.split('"').next()?;
    let right: String = wrong.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let right = crate::ids::ServiceName::new(right.trim_matches('-')).ok()?;
    ["service", "environment"].contains(&what).then(|| format!("did you mean `{right}`?"))
}

fn tab_hint(text: &str, line: u64) -> Option<String> {
    let index = usize::try_from(line).ok()?.saturating_sub(1);
    let has_tab = text.lines().skip(index.saturating_sub(1)).take(3).any(|line| line.starts_with('\t'));
    has_tab.then(|| "indent with spaces".to_owned())
}
