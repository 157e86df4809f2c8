//! The main attributes of a META-INF/MANIFEST.MF (JAR File Specification, "JAR Manifest").

use std::collections::BTreeMap;

/// Where it is in a jar.
pub const PATH: &str = "META-INF/MANIFEST.MF";

/// Attributes by name; names are the same whatever case they are written in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// Reads the main section. A line that begins with a space goes on with the one before, which may have been cut inside of a character.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for line in split_lines(bytes) {
            match (line.first(), lines.last_mut()) {
                (None, None) => {}
                (None, Some(_)) => break,
                (Some(b' '), Some(last)) => last.extend_from_slice(&line[1..]),
                _ => lines.push(line.to_vec()),
            }
        }
        let pair = |line: Vec<u8>| {
            let text = String::from_utf8_lossy(&line).into_owned();
            let (name, value) = text.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        };
        Self(lines.into_iter().filter_map(pair).collect())
    }

    /// An attribute that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether there is any.
    pub fn has_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether an attribute says `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// Lines end with CR LF, LF or CR.
fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&rest[..end]);
        rest = rest[end..].strip_prefix(b"\r\n").unwrap_or(&rest[end + 1..]);
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_and_the_main_section_ends() {
        let text = "Manifest-Version: 1.0\r\nMain-Class: example.A\r\n pplication\r\nmulti-release: TRUE\n\nName: a/\rMain-Class: no\r";
        let attributes = Attributes::parse(text.as_bytes());
        assert_eq!(attributes.get("main-class"), Some("example.Application"));
        assert!(attributes.is_true("Multi-Release"));
        assert_eq!(attributes.get("Name"), None);
    }

    #[test]
    fn a_character_may_be_cut_by_the_end_of_a_line() {
        let attributes = Attributes::parse(b"Title: caf\xc3\n \xa9\nEmpty:\nno colon\n");
        assert_eq!(attributes.get("Title"), Some("caf\u{e9}"));
        assert_eq!(attributes.get("Empty"), None);
    }

    #[test]
    fn anything_else_has_no_attributes() {
        for bytes in [&b""[..], b"\n\n", b" ", b"\x00\xff\r\r\n", b": :"] {
            assert_eq!(Attributes::parse(bytes).get("Main-Class"), None);
        }
    }
}
