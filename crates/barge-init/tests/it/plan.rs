//! Variables in commands and templates.

use std::collections::BTreeMap;

use barge_init::plan::{expand, fill_template};
use proptest::prelude::*;

fn env() -> BTreeMap<String, String> {
    [("PORT", "8080"), ("HOST", "127.0.0.1"), ("EMPTY", ""), ("DOLLAR", "$PORT")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn a_command_gets_its_variables() {
    let table = [
        ("$PORT", "8080"),
        ("${PORT}", "8080"),
        ("--listen=$HOST:${PORT}/x", "--listen=127.0.0.1:8080/x"),
        ("$PORT$PORT", "80808080"),
        ("${PORT}0", "80800"),
        ("$PORT0", "$PORT0"),
        ("$UNKNOWN ${UNKNOWN}", "$UNKNOWN ${UNKNOWN}"),
        ("$$PORT", "$PORT"),
        ("$$$PORT", "$8080"),
        ("[$EMPTY]", "[]"),
        ("$DOLLAR", "$PORT"),
        ("100 $", "100 $"),
        ("$", "$"),
        ("${", "${"),
        ("${PORT", "${PORT"),
        ("${}", "${}"),
        ("$-$ $", "$-$ $"),
        ("é$PORTé", "é8080é"),
        ("", ""),
    ];
    for (text, expected) in table {
        assert_eq!(expand(text, &env()), expected, "{text:?}");
    }
}

#[test]
fn a_template_knows_braces_alone() {
    let table = [
        ("port = ${PORT}", "port = 8080"),
        ("proxy_set_header Host $host;", "proxy_set_header Host $host;"),
        ("$PORT", "$PORT"),
        ("$$", "$$"),
        ("${UNKNOWN:-x}", "${UNKNOWN:-x}"),
        ("${PORT", "${PORT"),
        ("${a${PORT}}", "${a8080}"),
    ];
    for (text, expected) in table {
        assert_eq!(fill_template(text, &env()), expected, "{text:?}");
    }
}

proptest! {
    #[test]
    fn text_without_known_names_stays_as_it_is(text in "[a-z${} ]{0,40}") {
        prop_assert_eq!(fill_template(&text, &env()), text);
    }

    #[test]
    fn any_text_can_be_expanded(text in "\\PC{0,60}") {
        expand(&text, &env());
        fill_template(&text, &env());
    }
}
