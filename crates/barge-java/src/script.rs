//! What a start script says that Gradle's plugin `application` has written: which classes, in which order, and with which options of the JVM.
//!
//! Nothing of it is run. It is read as far as Gradle writes it (`unixStartScript.txt` and `StartScriptTemplateBindingFactory` in Gradle's
//! sources: before 7 with `eval set --`, since with `set --`, modules since 6.4), and as builds are known to change it afterwards: with
//! `$APP_HOME` in options and other places in the class path. What only the shell that runs it could fill in is told as it is written.

use crate::files::plain;

/// Stands for a '$' that is meant as one while words are taken apart. No word of a script has this character.
const DOLLAR: char = '\0';

/// Characters that names of classes and modules have beside letters and digits.
const OF_NAMES: &str = "._$";

/// A path or an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// With the application's directory as the working directory.
    Known(String),
    /// As it is written.
    Unknown(String),
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Main {
    /// A class of the class path.
    Class(String),
    /// A module, with its main class behind a '/' unless it knows that itself.
    Module(String),
}

/// What a start script says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartScript {
    /// In its order; one may end with `/*`, which means all jars there.
    pub(crate) class_path: Vec<Said>,
    /// The same for modules.
    pub(crate) module_path: Vec<Said>,
    pub(crate) main: Main,
    /// What the JVM is told beside these, the build's own default options first.
    pub(crate) options: Vec<Said>,
}

impl StartScript {
    /// Reads the script of a name.
    ///
    /// # Errors
    /// What it does not say.
    pub(crate) fn parse(script: &str, name: &str) -> Result<Self, &'static str> {
        let statements = statements(script);
        let command = statements.iter().find_map(|statement| Command::of(statement, name));
        let command = command.ok_or("which class is the main one")?;
        let class_path = paths(&statements, "CLASSPATH");
        let mut options = default_options(&statements, name);
        options.extend(command.options);
        match &command.main {
            Main::Class(_) if class_path.is_empty() => Err("what is in the class path"),
            _ => {
                let module_path = paths(&statements, "MODULE_PATH");
                Ok(Self { class_path, module_path, main: command.main, options })
            }
        }
    }
}

/// The script's lines without comments, each with those that it goes on in.
fn statements(script: &str) -> Vec<String> {
    let lines = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    text.lines().map(str::to_owned).collect()
}

/// What is assigned to a variable, each time; what is indented is for other systems only.
fn assigned<'a>(statements: &'a [String], variable: &str) -> impl Iterator<Item = &'a str> {
    statements.iter().filter_map(move |statement| statement.strip_prefix(variable)?.strip_prefix('='))
}

/// The paths in a variable, as the last assignment leaves it.
fn paths(statements: &[String], variable: &str) -> Vec<Said> {
    let own = [format!("${variable}"), format!("${{{variable}}}")];
    let mut paths: Vec<Said> = Vec::new();
    for value in assigned(statements, variable) {
        // Gradle writes no quotes, whatever the names of files.
        let text = if value.contains(['"', '\'', '\\']) { first_word(value) } else { value.to_owned() };
        let before = std::mem::take(&mut paths);
        for path in text.split(':').filter(|path| !path.trim_matches(['"', '\\', ' ']).is_empty()) {
            if own.iter().any(|own| own == path) {
                paths.extend(before.iter().cloned());
            } else {
                paths.push(path_of(path));
            }
        }
    }
    paths
}

fn first_word(value: &str) -> String {
    shlex::split(value).and_then(|words| words.into_iter().next()).unwrap_or_default()
}

/// A path below the application's directory; empty for that directory itself.
fn path_of(text: &str) -> Said {
    let inside = ["$APP_HOME", "${APP_HOME}"].iter().find_map(|home| text.strip_prefix(home));
    let path = inside.filter(|rest| rest.is_empty() || rest.starts_with('/')).map(|rest| rest.trim_start_matches('/'));
    match path.and_then(plain) {
        Some(path) if !path.contains(['$', '`']) => Said::Known(path),
        _ => Said::Unknown(text.to_owned()),
    }
}

/// `DEFAULT_JVM_OPTS='"-Xmx1g" "-Da=b"'`: the shell takes the outer quotes away, and what it calls then the inner ones.
///
/// Since version 7 Gradle's script does not take away all of the backslashes that Gradle puts before '$' and others. Here it is read as the
/// build means it.
fn default_options(statements: &[String], name: &str) -> Vec<Said> {
    let Some(value) = assigned(statements, "DEFAULT_JVM_OPTS").last() else { return Vec::new() };
    let words = shlex::split(value).and_then(|outer| match outer.as_slice() {
        [] => Some(Vec::new()),
        [inner] => shlex::split(&without_escaped_dollars(inner)),
        // There is something of a shell in it.
        _ => None,
    });
    match words {
        Some(words) => words.into_iter().map(|word| option_of(&word, name)).collect(),
        None => vec![Said::Unknown(value.to_owned())],
    }
}

fn without_escaped_dollars(text: &str) -> String {
    let mut changed = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let next = if letter == '\\' { letters.next() } else { None };
        match next {
            Some('$') => changed.push(DOLLAR),
            next => {
                changed.push(letter);
                changed.extend(next);
            }
        }
    }
    changed
}

/// An option with its variables filled in. The application's directory is the working directory, so paths in it are relative; in the address
/// of a file they could not be.
fn option_of(word: &str, name: &str) -> Said {
    let meant = |text: &str| text.replace(DOLLAR, "$");
    let unknown = || Said::Unknown(meant(word));
    let (mut text, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let Some((variable, after)) = variable(after) else { return unknown() };
        rest = after;
        match variable {
            "APP_BASE_NAME" => text.push_str(name),
            "APP_HOME" if text.ends_with("file:") || text.ends_with("//") || after.starts_with("/..") => {
                return unknown();
            }
            "APP_HOME" => match after.strip_prefix('/').filter(|path| path.starts_with(is_of_path)) {
                Some(path) => rest = path,
                None => text.push('.'),
            },
            _ => return unknown(),
        }
    }
    text.push_str(rest);
    if text.contains('`') { unknown() } else { Said::Known(meant(&text)) }
}

fn is_of_path(letter: char) -> bool {
    !":;, ".contains(letter)
}

/// The name behind a '$', and what comes after it.
fn variable(text: &str) -> Option<(&str, &str)> {
    if let Some(text) = text.strip_prefix('{') {
        return text.split_once('}');
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The words that `java` is given.
struct Command {
    options: Vec<Said>,
    main: Main,
}

impl Command {
    /// `set -- -Da=b -classpath "$CLASSPATH" example.Main "$@"`, in which words that are variables hold what is said elsewhere.
    fn of(statement: &str, name: &str) -> Option<Self> {
        let words = shlex::split(statement)?;
        let words: Vec<&str> = words.iter().map(|word| word.trim_matches('"')).collect();
        let words = match words.as_slice() {
            ["set", "--", words @ ..] | ["eval", "set", "--", words @ ..] => words,
            _ => return None,
        };
        let (mut options, mut has_path) = (Vec::new(), false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "-classpath" | "-cp" | "--module-path" | "-p" => {
                    words.next()?;
                    has_path = true;
                }
                "--module" | "-m" => {
                    return name_of(words.next()?, "/-").map(|main| Self { options, main: Main::Module(main) });
                }
                word if word.starts_with('-') => options.push(option_of(word, name)),
                word if word.starts_with('$') => {}
                word if has_path => return name_of(word, "").map(|main| Self { options, main: Main::Class(main) }),
                _ => return None,
            }
        }
        None
    }
}

fn name_of(word: &str, more: &str) -> Option<String> {
    let is_letter = |letter: char| letter.is_alphanumeric() || OF_NAMES.contains(letter) || more.contains(letter);
    (!word.is_empty() && word.chars().all(is_letter)).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn known(paths: &[&str]) -> Vec<Said> {
        paths.iter().map(|path| Said::Known((*path).to_owned())).collect()
    }

    fn unknown(text: &str) -> Said {
        Said::Unknown(text.to_owned())
    }

    /// A script with these options and lines that lead to the command.
    fn script(options: &str, lines: &str) -> String {
        format!(
            "#!/bin/sh\n# DEFAULT_JVM_OPTS, -classpath and more\nif \"$cygwin\" ; then\n    CLASSPATH=$( cygpath \"$CLASSPATH\" )\n    set -- \"$@\" \"$arg\"\nfi\n\
             DEFAULT_JVM_OPTS={options}\n{lines}exec \"$JAVACMD\" \"$@\"\n"
        )
    }

    const SINCE_7: &str = "CLASSPATH=$APP_HOME/lib/shop.jar:$APP_HOME/lib/z-1.jar\n\nset -- \\\n        -classpath \"$CLASSPATH\" \\\n        example.Main \\\n        \"$@\"\n";

    #[test]
    fn scripts_of_all_versions_are_read() {
        let before_7 = "CLASSPATH=$APP_HOME/lib/shop.jar:$APP_HOME/lib/z-1.jar\n\
             eval set -- $DEFAULT_JVM_OPTS $JAVA_OPTS $SHOP_OPTS -classpath \"\\\"$CLASSPATH\\\"\" example.Main \"$APP_ARGS\"\n";
        for lines in [SINCE_7, before_7] {
            let found = StartScript::parse(&script("'\"-Xmx64m\" \"-Da=b c\"'", lines), "shop").unwrap();
            assert_eq!(found.class_path, known(&["lib/shop.jar", "lib/z-1.jar"]), "{lines}");
            assert_eq!(found.main, Main::Class("example.Main".to_owned()));
            assert_eq!(found.options, known(&["-Xmx64m", "-Da=b c"]));
        }
    }

    #[test]
    fn modules_are_read_with_and_without_a_class_path() {
        let modules = "MODULE_PATH=$APP_HOME/lib/shop.jar\nset -- \\\n -Dname=\"$APP_BASE_NAME\" \\\n";
        let end = " --module-path \"$MODULE_PATH\" \\\n --module my.shop/example.Main \\\n \"$@\"\n";
        for (class_path, words) in [
            ("", ""),
            ("CLASSPATH=\n", " -classpath \"$CLASSPATH\" \\\n"),
            ("CLASSPATH=\"\\\\\\\"\\\\\\\"\"\n", " -classpath \"$CLASSPATH\" \\\n"),
        ] {
            let found =
                StartScript::parse(&script("\"\"", &format!("{class_path}{modules}{words}{end}")), "shop").unwrap();
            assert_eq!((found.class_path, found.module_path), (Vec::new(), known(&["lib/shop.jar"])), "{class_path}");
            assert_eq!(found.main, Main::Module("my.shop/example.Main".to_owned()));
            assert_eq!(found.options, known(&["-Dname=shop"]));
        }
    }

    #[test]
    fn a_class_path_may_name_more_than_jars_in_lib() {
        let paths = |value: &str| {
            let lines = SINCE_7.replace("$APP_HOME/lib/shop.jar:$APP_HOME/lib/z-1.jar", value);
            StartScript::parse(&script("\"\"", &lines), "shop").unwrap().class_path
        };
        assert_eq!(paths("$APP_HOME/conf/:${APP_HOME}/./ext/a.jar:$APP_HOME"), known(&["conf", "ext/a.jar", ""]));
        assert_eq!(paths("$APP_HOME/lib/a b.jar"), known(&["lib/a b.jar"]));
        assert_eq!(paths("\"$APP_HOME\"'/lib/*'"), known(&["lib/*"]));
        assert_eq!(paths("$APP_HOME/lib/a.jar\nCLASSPATH=$APP_HOME/conf:$CLASSPATH"), known(&["conf", "lib/a.jar"]));
        for text in ["/etc/shop", "lib/a.jar", "$HOME/a.jar", "$APP_HOME/../a.jar", "$APP_HOME_2/a.jar", "$APP_HOME/$X"]
        {
            assert_eq!(paths(text), [unknown(text)], "{text}");
        }
    }

    #[test]
    fn options_are_what_the_build_means() {
        let options = |value: &str| StartScript::parse(&script(value, SINCE_7), "shop").unwrap().options;
        for (value, expected) in [
            ("\"\"", &[][..]),
            ("", &[]),
            (
                "'\"--add-opens\" \"java.base/java.lang=ALL-UNNAMED\"'",
                &["--add-opens", "java.base/java.lang=ALL-UNNAMED"],
            ),
            // As Gradle writes a quote of either kind, a backslash and a '$'.
            (
                r#"'"-Da=it'"'"'s" "-Db=\"c\"" "-Dd=e\\f" "-Dg=\$APP_HOME"'"#,
                &["-Da=it's", "-Db=\"c\"", "-Dd=e\\f", "-Dg=$APP_HOME"],
            ),
            // As builds are told to put the directory in afterwards.
            ("'\"-Da='$APP_HOME'/conf/a.xml\"'", &["-Da=conf/a.xml"]),
            (
                "'\"-Da=$APP_HOME/a:${APP_HOME}/b:$APP_HOME\" \"-javaagent:$APP_HOME/lib/a.jar=x\"'",
                &["-Da=a:b:.", "-javaagent:lib/a.jar=x"],
            ),
        ] {
            assert_eq!(options(value), known(expected), "{value}");
        }
        for text in [
            "-Da=$HOME",
            "-Da=file:$APP_HOME/a",
            "-Da=file://$APP_HOME/a",
            "-Da=$APP_HOME/../a",
            "-Da=$(pwd)",
            "-Da=`pwd`",
        ] {
            assert_eq!(
                options(&format!("'\"{text}\" \"-Xss1m\"'")),
                [unknown(text), Said::Known("-Xss1m".to_owned())],
                "{text}"
            );
        }
        let shell = "'\"-Da='$(dirname \"$0\")'\"'";
        assert_eq!(options(shell), [unknown(shell)]);
    }

    /// As `StartScriptTemplateBindingFactory` writes it.
    fn written(option: &str) -> String {
        let text = option.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "'\"'\"'").replace('$', "\\$");
        format!("\"{text}\"")
    }

    proptest! {
        #[test]
        fn whatever_a_build_says_to_the_jvm_is_read_back(options in vec("[ -_a-~]{0,12}", 1..5)) {
            let value = format!("'{}'", options.iter().map(|option| written(option)).collect::<Vec<_>>().join(" "));
            let found = StartScript::parse(&script(&value, SINCE_7), "shop").unwrap().options;
            prop_assert_eq!(found, options.into_iter().map(Said::Known).collect::<Vec<_>>(), "{}", value);
        }

        #[test]
        fn whatever_is_there_is_read_or_refused(options in "\\PC{0,20}", lines in "[-$\"'\\\\{}:/.*=A-C\n ]{0,40}") {
            let lines = format!("CLASSPATH={lines}\nset -- -classpath \"$CLASSPATH\" example.Main {lines}\n");
            if let Ok(found) = StartScript::parse(&script(&options, &lines), "shop") {
                let is_inside = |said: &Said| match said {
                    Said::Known(path) => !path.starts_with('/') && !path.split('/').any(|name| name == ".."),
                    Said::Unknown(_) => true,
                };
                prop_assert!(found.class_path.iter().all(is_inside), "{:?}", found.class_path);
            }
        }
    }

    #[test]
    fn another_script_says_nothing() {
        for (lines, what) in [
            ("", "which class is the main one"),
            ("set -- example.Main \"$@\"\n", "which class is the main one"),
            ("exec java -jar a.jar\n", "which class is the main one"),
            ("set -- -classpath \"$CLASSPATH\" \"$MAIN\" \"$@\"\n", "which class is the main one"),
            ("set -- -classpath \"$CLASSPATH\" example.Main \"$@\"\n", "what is in the class path"),
        ] {
            assert_eq!(StartScript::parse(&script("\"\"", lines), "shop").unwrap_err(), what, "{lines}");
        }
    }
}
