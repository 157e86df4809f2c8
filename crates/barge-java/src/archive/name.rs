//! Which names of members can be paths of files below a directory.
//!
//! Case is told apart, as it is on Linux where images run: `Readme` and `README` are two files.

/// The longest name of a member, in bytes: that of a path on Linux, less some for where it is unpacked.
const LONGEST_PATH: usize = 3500;

/// The longest name of a file or directory on Linux, in bytes.
const LONGEST_PART: usize = 255;

/// The name as text, if it is a path that stays below where it is unpacked. Directories end with `/`.
pub(super) fn check(name: &[u8]) -> Result<&str, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "it is not UTF-8")?;
    let path = name.strip_suffix('/').unwrap_or(name);
    let bytes = path.as_bytes();
    match () {
        () if path.is_empty() => Err("it is empty"),
        () if path.len() > LONGEST_PATH => Err("it is too long"),
        () if path.contains('\0') => Err("it holds a zero byte"),
        () if path.chars().any(char::is_control) => Err("it holds a control character"),
        () if path.contains('\\') => Err("it holds a backslash"),
        () if path.starts_with('/') => Err("it is absolute"),
        () if bytes.len() > 1 && bytes[1] == b':' && bytes[0].is_ascii_alphabetic() => Err("it begins with a drive"),
        () => path.split('/').try_for_each(part).map(|()| name),
    }
}

fn part(part: &str) -> Result<(), &'static str> {
    match part {
        "" => Err("it holds //"),
        "." => Err("it holds the part ."),
        ".." => Err("it holds the part .."),
        _ if part.len() > LONGEST_PART => Err("one of its parts is too long"),
        _ => Ok(()),
    }
}
