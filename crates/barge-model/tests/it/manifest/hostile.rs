//! Files that nobody writes by hand: each is refused, and quickly.

use std::fmt::Write;

use barge_model::manifest::{MAX_MANIFEST_BYTES, ManifestError, parse};
use proptest::prelude::*;

use crate::runner::runner;

const BASE: &str = "name: greeter\nkind: web\n";

#[test]
fn what_is_no_text_or_too_much_of_it_is_refused() {
    assert_eq!(parse(b""), Err(ManifestError::Empty));
    assert_eq!(parse(b"# only a comment\n\n  # another\n"), Err(ManifestError::Empty));
    assert_eq!(parse("\u{feff}\n".as_bytes()), Err(ManifestError::Empty));
    assert_eq!(parse(b"name: \xff\n"), Err(ManifestError::NotUtf8 { offset: 6 }));
    let large = vec![b'a'; 10 << 20];
    assert_eq!(parse(&large), Err(ManifestError::TooLarge { size: 10 << 20 }));
    assert_eq!(
        parse(&large).unwrap_err().to_string(),
        format!("barge.yaml has 10485760 bytes; at most {MAX_MANIFEST_BYTES} are read")
    );
    assert_eq!(
        parse(b"").unwrap_err().to_string(),
        "barge.yaml is empty; the least it needs is `name: my-service` and `kind: web`"
    );
    assert_eq!(parse(b"name: \xff\n").unwrap_err().to_string(), "barge.yaml is not UTF-8 text: byte 6 does not fit");
}

#[test]
fn a_long_file_that_is_honest_is_read() {
    let mut text = format!("{BASE}env:\n");
    for number in 0..9_000 {
        writeln!(text, "  A{number}: abcdefghijkl").unwrap();
    }
    assert_eq!(parse(text.as_bytes()).unwrap().env.len(), 9_000);
}

#[test]
fn aliases_that_multiply_a_file_are_refused() {
    let refused = |text: &str| {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.ends_with("with its aliases written out the file is too large"), "{error}");
    };
    // One long text, many times.
    let times = "*a,".repeat(50_000);
    refused(&format!("{BASE}healthcheck: &a {}\ntemplates: [{times}]\n", "x".repeat(100_000)));
    // One environment, many times.
    let mut text = format!("{BASE}environments:\n  e0: &e0 {{env: {{A: 1, B: 2, C: 3}}}}\n");
    for number in 1..8_000 {
        writeln!(text, "  e{number}: *e0").unwrap();
    }
    refused(&text);
    // A billion laughs: each map holds the one before it several times.
    let mut text = format!("{BASE}environments:\n  e0: {{env: &m0 {{A: 1}}}}\n");
    for number in 1..40 {
        let before = number - 1;
        writeln!(text, "  e{number}: {{env: &m{number} {{<<: [*m{before}, *m{before}, *m{before}], B{number}: 1}}}}")
            .unwrap();
    }
    refused(&text);
}

#[test]
fn a_billion_laughs_in_an_unknown_field_is_refused() {
    let mut text = format!("{BASE}x0: &x0 [a, a, a, a, a, a, a, a, a]\n");
    for number in 1..12 {
        writeln!(text, "x{number}: &x{number} [{}]", format!("*x{},", number - 1).repeat(9)).unwrap();
    }
    assert!(parse(text.as_bytes()).unwrap_err().to_string().contains("unknown field `x0`"));
}

#[test]
fn deep_nesting_is_refused() {
    for (opening, times) in [("[", 100_000), ("{a: ", 50_000), ("- ", 100_000), ("? ", 100_000)] {
        for field in ["env: ", "command: ", "x: ", "rollout: {batches: "] {
            let text = format!("{BASE}{field}{}", opening.repeat(times));
            parse(text.as_bytes()).unwrap_err();
        }
    }
}

/// Pieces that a `barge.yaml` is made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "name: ",
        "kind: ",
        "web",
        "rpc",
        "\n",
        "  ",
        "env:",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "- ",
        ": ",
        ",",
        "'",
        "\"",
        "#",
        "|",
        ">",
        "!!str ",
        "---",
        "<<: ",
        "? ",
        "25%",
        "-1",
        "1e400",
        "0x1F",
        "\t",
        "\u{feff}",
        "ä",
        "~",
        "replicas: ",
        "rollout:",
        "batches: ",
        "environments:",
        "secret: ",
        "\r",
        "%",
        "@",
        "`",
        "\0",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

#[test]
fn random_bytes_never_panic() {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let read = |bytes: Vec<u8>| {
        let _ = parse(&bytes);
        Ok(())
    };
    runner(3000).run(&bytes, read).unwrap();
}

#[test]
fn random_pieces_never_panic_and_every_mistake_has_a_place() {
    let read = |(text, with_base): (String, bool)| {
        let text = if with_base { format!("{BASE}{text}") } else { text };
        if let Err(ManifestError::Invalid { line, column, message, .. }) = parse(text.as_bytes()) {
            prop_assert!(line >= 1 && column >= 1);
            // In YAML a carriage return alone ends a line as well; and a mistake may be that the text has ended.
            let lines = text.matches(['\n', '\r']).count() as u64 + 2;
            prop_assert!(line <= lines, "line {line} of {text:?}");
            prop_assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        }
        Ok(())
    };
    runner(3000).run(&(pieces(), any::<bool>()), read).unwrap();
}
