//! What a program needs beside itself to run in an image that has nothing else: its loader and its libraries, as they are on this machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

/// Libraries that the C library loads by name, where it is old: it looks up host names with them.
const BY_NAME: [&str; 3] = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];

/// Why it is not known what a program needs.
#[derive(Debug, thiserror::Error)]
pub enum LibrariesError {
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The program is none that this system loads.
    #[error("look for the loader that {path} names")]
    Program {
        /// Which program.
        path: PathBuf,
        /// Why not.
        source: object::read::Error,
    },
    /// It has no text for a path.
    #[error("{0:?} is no path that an image can have")]
    Path(PathBuf),
}

/// Files by their paths in the image, without the leading slash. Empty for a program that is linked statically.
///
/// # Errors
/// The program, or what is known of this process, cannot be read.
pub(crate) fn of_this_program(program: &Path) -> Result<BTreeMap<String, PathBuf>, LibrariesError> {
    let Some(loader) = loader(program)? else { return Ok(BTreeMap::new()) };
    let maps = Path::new("/proc/self/maps");
    let maps =
        std::fs::read_to_string(maps).map_err(|source| LibrariesError::Read { path: maps.to_owned(), source })?;
    let mut files = mapped(&maps, program);
    let found = files.iter().filter_map(|file| file.parent());
    let by_name: Vec<PathBuf> = found.flat_map(|directory| BY_NAME.map(|name| directory.join(name))).collect();
    files.extend(by_name.into_iter().filter(|file| file.is_file()));
    files.push(loader);
    let place = |file: PathBuf| {
        let path = file.to_str().and_then(|path| path.strip_prefix('/')).map(str::to_owned);
        Ok((path.ok_or_else(|| LibrariesError::Path(file.clone()))?, file))
    };
    files.into_iter().map(place).collect()
}

/// The loader that a program names; none where it needs none.
fn loader(program: &Path) -> Result<Option<PathBuf>, LibrariesError> {
    let file = File::open(program).map_err(|source| LibrariesError::Read { path: program.to_owned(), source })?;
    let data = ReadCache::new(file);
    let look = || -> Result<Option<Vec<u8>>, object::read::Error> {
        let header = elf::FileHeader64::<Endianness>::parse(&data)?;
        let endian = header.endian()?;
        for segment in header.program_headers(endian, &data)? {
            if let Some(name) = segment.interpreter(endian, &data)? {
                return Ok(Some(name.to_vec()));
            }
        }
        Ok(None)
    };
    let name = look().map_err(|source| LibrariesError::Program { path: program.to_owned(), source })?;
    Ok(name.map(|name| PathBuf::from(String::from_utf8_lossy(&name).into_owned())))
}

/// The files besides the program out of which this process runs, from what the kernel says of its memory (proc_pid_maps(5)).
fn mapped(maps: &str, program: &Path) -> Vec<PathBuf> {
    let code = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let runs = words.nth(1)?.contains('x');
        // What is no file has a name in brackets, or none.
        let path = line.find('/').map(|at| Path::new(&line[at..]))?;
        Some(path.to_owned()).filter(|path| runs && path != program)
    };
    let mut files: Vec<PathBuf> = maps.lines().filter_map(code).collect();
    files.dedup();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_runs_out_of_is_in_its_maps() {
        let maps = "\
55d0-55d1 r--p 00000000 fd:00 1 /opt/barge
55d1-55d2 r-xp 00000000 fd:00 1 /opt/barge
7f00-7f01 r--p 00000000 fd:00 2 /usr/lib/locale/C.utf8/LC_CTYPE
7f01-7f02 r-xp 00000000 fd:00 3 /usr/lib/x86_64-linux-gnu/libc.so.6
7f02-7f03 rw-p 00000000 00:00 0
7f03-7f04 r-xp 00000000 fd:00 4 /usr/lib/x86_64-linux-gnu/a name with spaces.so
7f05-7f06 r-xp 00000000 00:00 0 [vdso]
";
        let found = mapped(maps, Path::new("/opt/barge"));
        let expected = ["/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/a name with spaces.so"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn this_very_test_names_its_loader_and_its_libraries() {
        let own = std::env::current_exe().unwrap();
        let files = of_this_program(&own).unwrap();
        if cfg!(target_env = "musl") {
            return;
        }
        assert!(files.keys().any(|path| path.contains("ld-linux")), "{files:?}");
        assert!(files.keys().any(|path| path.ends_with("libc.so.6")), "{files:?}");
        assert!(files.values().all(|file| file.is_file() && *file != own), "{files:?}");
    }

    #[test]
    fn what_is_no_program_is_told_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = loader(file.path()).unwrap_err();
        assert_eq!(error.to_string(), format!("look for the loader that {} names", file.path().display()));
    }
}
