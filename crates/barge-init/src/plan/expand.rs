//! Variables in commands and templates.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Replaces `$NAME` and `${NAME}` by variables of `env`; an unknown name and `$$` stay readable: `$$` becomes `$`.
pub fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    replace(text, env, true)
}

/// The variables of barge-init's own environment that are text.
pub(crate) fn own_environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Replaces `${NAME}` alone, for templates: `$name` means something to many configuration files.
pub fn fill_template(text: &str, env: &BTreeMap<String, String>) -> String {
    replace(text, env, false)
}

fn replace(text: &str, env: &BTreeMap<String, String>, bare: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if bare && let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let (name, length) = match after.strip_prefix('{') {
            Some(braced) => match braced.find('}') {
                Some(end) => (&braced[..end], end + 2),
                None => ("", 0),
            },
            None if bare => {
                let end = after.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                (&after[..end], end)
            }
            None => ("", 0),
        };
        match env.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = &after[length..];
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
