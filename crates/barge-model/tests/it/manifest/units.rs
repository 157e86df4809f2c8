//! Numbers with units: what is read, and how it is written again.

use barge_model::Millis;
use barge_model::manifest::{Count, Memory, MilliCpu};

fn check<T: std::str::FromStr + std::fmt::Display>(rows: &[(&str, Option<&str>)]) {
    for (text, expected) in rows {
        let read = text.parse::<T>().ok().map(|value| value.to_string());
        assert_eq!(read.as_deref(), *expected, "{text:?}");
        if let Some(written) = read {
            let again = written.parse::<T>().ok().map(|value| value.to_string());
            assert_eq!(again, Some(written), "what is written can be read");
        }
    }
}

#[test]
fn memory() {
    check::<Memory>(&[
        ("512MiB", Some("512MiB")),
        ("1024MiB", Some("1GiB")),
        ("2Gi", Some("2GiB")),
        ("1GB", Some("1000MB")),
        ("1 GiB", Some("1GiB")),
        ("0MiB", None),
        ("512", None),
        ("512mb", None),
        ("-1MiB", None),
        ("1.5GiB", None),
        ("17179869184GiB", None),
        ("", None),
        ("MiB", None),
    ]);
}

#[test]
fn cores() {
    check::<MilliCpu>(&[
        ("1", Some("1000m")),
        ("0.5", Some("500m")),
        ("250m", Some("250m")),
        ("1e3", Some("1000000m")),
        ("0", None),
        ("0m", None),
        ("-1", None),
        ("2000", None),
        ("NaN", None),
        ("inf", None),
        ("half", None),
        ("", None),
    ]);
}

#[test]
fn counts() {
    check::<Count>(&[
        ("3", Some("3")),
        ("25%", Some("25%")),
        ("0%", Some("0%")),
        ("100%", Some("100%")),
        ("101%", None),
        ("-1", None),
        ("1.5", None),
        ("%", None),
        ("25 %", None),
        ("", None),
    ]);
}

#[test]
fn spans() {
    check::<Millis>(&[
        ("30s", Some("30s")),
        ("90s", Some("1m30s")),
        ("90", Some("1m30s")),
        ("1h30m", Some("1h30m")),
        ("7d", Some("7d")),
        ("250ms", Some("250ms")),
        ("1d2h3m4s5ms", Some("1d2h3m4s5ms")),
        ("0", Some("0s")),
        ("0s", Some("0s")),
        ("5x", None),
        ("s", None),
        ("5 minutes", None),
        ("-5s", None),
        ("1.5h", None),
        ("99999999999999999999", None),
        ("213503982335d", None),
        ("ä", None),
        ("", None),
    ]);
}
