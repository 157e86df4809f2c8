//! What the JVM is told beside its class path, each with its reason.
//!
//! Who runs the program wins over us, in whatever way they say it. Options that begin with `-XX:` are therefore in a file of flags, which the
//! JVM reads before `JAVA_TOOL_OPTIONS`, before `JDK_JAVA_OPTIONS` and before the command line. For others there is no such place: they are
//! left out where the project's variables say something about the same. Those of `build.jvm` come last.

use std::fmt::Write as _;

use crate::plan::Options;

/// Where our files are, below /app.
pub(crate) const HOME: &str = "barge";

/// The file of flags, below /app.
pub(crate) const FLAGS: &str = "barge/jvm.flags";

/// The argument file (`java @FILE`, JDK 9), below /app.
pub(crate) const ARGUMENTS: &str = "barge/java.args";

/// Where a JVM leaves what helps to find out why it is as it is, below /app.
pub(crate) const DIAGNOSIS: &str = "barge/diagnosis";

/// The share of the memory that is the heap's, in percent. The rest is for threads, classes, compiled code and buffers.
const HEAP_PERCENT: u32 = 70;

/// Where an option stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the file of flags.
    Flags,
    /// On the command line.
    CommandLine,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JvmOption {
    /// As it would be on a command line.
    pub option: String,
    /// What for.
    pub why: String,
    /// Where it stands.
    pub place: Place,
}

impl JvmOption {
    pub(crate) fn on_command_line(option: impl Into<String>, why: &str) -> Self {
        Self { option: option.into(), why: why.to_owned(), place: Place::CommandLine }
    }
}

/// Ours, then `of_program`, what the program itself asks for, then the project's.
pub(crate) fn all(options: &Options, of_program: Vec<JvmOption>) -> Vec<JvmOption> {
    let flag = |option: String, why: &str| JvmOption { option, why: why.to_owned(), place: Place::Flags };
    let mut all = Vec::new();
    if options.limited_memory {
        let why = "most of the instance's memory is for the heap; the JVM alone would take a quarter";
        all.push(flag(format!("-XX:MaxRAMPercentage={HEAP_PERCENT}"), why));
    }
    all.extend([
        flag("-XX:+HeapDumpOnOutOfMemoryError".to_owned(), "what filled the heap can be looked at afterwards"),
        flag(format!("-XX:HeapDumpPath={DIAGNOSIS}"), "there, where it stays while a failed start is held"),
        flag(
            "-XX:+ExitOnOutOfMemoryError".to_owned(),
            "after the dump: a program that goes on without memory does so in no known state",
        ),
        flag(format!("-XX:ErrorFile={DIAGNOSIS}/hs_err_pid%p.log"), "where a crash of the JVM itself is told"),
    ]);
    all.push(JvmOption::on_command_line(format!("-XX:Flags={FLAGS}"), "the options above, below whatever you say"));
    let unsaid = |option: String, about: &[&str], why: &str| {
        let said = about.iter().any(|about| options.said.iter().any(|said| said.contains(about)));
        (!said).then(|| JvmOption::on_command_line(option, why))
    };
    let log = format!("-Xlog:gc*:file={DIAGNOSIS}/gc.log:time,uptime,level,tags:filecount=5,filesize=10m");
    all.extend(unsaid(log, &["-Xlog:gc", "-Xlog:disable"], "the garbage collector's log, at most 60 MB of it"));
    for name in ["file.encoding", "stdout.encoding", "stderr.encoding"] {
        let why = "text is UTF-8 whatever the locale; JDK 18 and later do the same for files";
        all.extend(unsaid(format!("-D{name}=UTF-8"), &[&format!("-D{name}=")], why));
    }
    all.extend(of_program);
    all.extend(options.jvm.iter().map(|option| JvmOption::on_command_line(option, "build.jvm in barge.yaml")));
    all
}

/// The text of the file of flags.
pub(crate) fn flags_text(options: &[JvmOption]) -> String {
    let mut text =
        String::from("# What the JVM is told unless somebody says otherwise: JAVA_TOOL_OPTIONS, build.jvm\n");
    for option in options.iter().filter(|option| option.place == Place::Flags) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", option.option.trim_start_matches("-XX:"));
    }
    text
}

/// The text of the argument file: options, then what comes after them, a word in each line.
pub(crate) fn arguments_text(options: &[JvmOption], launch: &[String]) -> String {
    let options = options.iter().filter(|option| option.place == Place::CommandLine).map(|option| &option.option);
    let mut text = String::from("# java @barge/java.args, in /app\n");
    for word in options.chain(launch) {
        let _ = writeln!(text, "{}", quoted(word));
    }
    text
}

/// A word of an argument file ("java Command-Line Argument Files"): in quotes where it has spaces, quotes or a '#'.
fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && !word.contains(|letter: char| letter.is_whitespace() || "\"'#\\".contains(letter));
    if plain { word.to_owned() } else { format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_spaces_are_in_quotes() {
        for (word, text) in [
            ("-Xmx1g", "-Xmx1g"),
            ("-Da=b c", "\"-Da=b c\""),
            ("-Da=\"b\"", "\"-Da=\\\"b\\\"\""),
            ("-Da=b\\c", "\"-Da=b\\\\c\""),
            ("-Da=#", "\"-Da=#\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(word), text);
        }
    }

    #[test]
    fn what_the_project_says_is_not_said_by_us() {
        let names =
            |options: &Options| all(options, Vec::new()).into_iter().map(|option| option.option).collect::<Vec<_>>();
        let plain = names(&Options::default());
        assert!(
            plain.contains(&"-Dfile.encoding=UTF-8".to_owned()) && !plain.iter().any(|option| option.contains("RAM"))
        );
        let said = Options { said: vec!["-Dfile.encoding=ISO-8859-1 -Xlog:gc".to_owned()], ..Options::default() };
        let rest = names(&said);
        assert!(
            !rest.iter().any(|option| option.starts_with("-Dfile.encoding") || option.starts_with("-Xlog")),
            "{rest:?}"
        );
        let limited = names(&Options { limited_memory: true, jvm: vec!["-Xss1m".to_owned()], ..Options::default() });
        assert_eq!(limited.first().unwrap(), "-XX:MaxRAMPercentage=70");
        assert_eq!(limited.last().unwrap(), "-Xss1m");
    }
}
