//! What Gradle's `installDist` puts into build/install/NAME: libraries in lib/, and a start script that says in which order.

use std::path::Path;

use crate::kinds::jar::{file_entry, jars_in};
use crate::layers::{self, Layers, Part};
use crate::options::JvmOption;
use crate::plan::{JavaPlan, Options, PlanError};
use crate::start::{self, Launch};

/// Whether a directory is one.
pub(crate) fn is(directory: &Path) -> bool {
    script(directory).is_some_and(|script| script.is_file()) && directory.join("lib").is_dir()
}

/// The start script, which has a twin for Windows.
fn script(directory: &Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory.join("bin")).ok()?;
    let mut twins: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "bat"))
        .collect();
    twins.sort();
    twins.first().map(|twin| twin.with_extension(""))
}

/// Plans.
pub(crate) fn plan(directory: &Path, options: &Options) -> Result<JavaPlan, PlanError> {
    let path = script(directory).ok_or_else(|| PlanError::Unknown(directory.to_owned()))?;
    let text = std::fs::read_to_string(&path).map_err(|source| PlanError::Read { path: path.clone(), source })?;
    let silent = |what| PlanError::Script { path: path.clone(), what };
    let main = main_class(&text).ok_or_else(|| silent("which class is the main one"))?;
    let class_path = class_path(&text).ok_or_else(|| silent("what is in the class path"))?;
    let mut layers = Layers::new(directory);
    let own = own_jar(&class_path);
    for jar in jars_in(&directory.join("lib"))? {
        let target = format!("lib/{}", jar.file_name().unwrap_or_default().to_string_lossy());
        let part = if Some(&target) == own.as_ref() { Part::Classes } else { layers::of_library(&target) };
        layers.put(part, &target, file_entry(&jar)?)?;
    }
    let mut class_path = class_path;
    let missing: Vec<String> = class_path.iter().filter(|path| !directory.join(path).exists()).cloned().collect();
    if !missing.is_empty() {
        return Err(PlanError::Missing { path, missing });
    }
    if start::is_spring(class_path.iter().map(String::as_str)) {
        class_path.push(start::put_spring(&mut layers, options)?);
    }
    let why = "applicationDefaultJvmArgs of the build";
    let asked = default_options(&text).into_iter().map(|option| JvmOption::on_command_line(option, why)).collect();
    let all = start::put(&mut layers, options, asked, Launch::Class(&class_path, &main))?;
    Ok(JavaPlan {
        kind: "Gradle application".to_owned(),
        why: format!("bin/{} names the class {main}", path.file_name().unwrap_or_default().to_string_lossy()),
        artifact: directory.to_owned(),
        layers: layers.finish(),
        command: start::command(),
        class_path,
        options: all,
        needs_tomcat: false,
        notes: Vec::new(),
        warnings: Vec::new(),
    })
}

/// `CLASSPATH=$APP_HOME/lib/a.jar:$APP_HOME/lib/b.jar`; the project's own jar is the first.
fn class_path(script: &str) -> Option<Vec<String>> {
    let line = script.lines().find_map(|line| line.strip_prefix("CLASSPATH="))?;
    let paths = line.trim_matches('"').split(':').map(|path| path.strip_prefix("$APP_HOME/").map(str::to_owned));
    paths.collect::<Option<Vec<_>>>().filter(|paths| paths.iter().all(|path| path.starts_with("lib/")))
}

fn own_jar(class_path: &[String]) -> Option<String> {
    class_path.first().cloned()
}

/// The word after `-classpath "$CLASSPATH" \`.
fn main_class(script: &str) -> Option<String> {
    let (_, after) = script.split_once("-classpath \"$CLASSPATH\"")?;
    let word = after.split_whitespace().find(|word| *word != "\\")?;
    let word = word.trim_matches('"');
    let is_name = word.chars().all(|letter| letter.is_alphanumeric() || "._$".contains(letter));
    (is_name && !word.starts_with('$') && !word.is_empty()).then(|| word.to_owned())
}

/// `DEFAULT_JVM_OPTS='"-Xmx1g" "-Da=b"'`; those that the script would fill in are left out.
fn default_options(script: &str) -> Vec<String> {
    let line = script.lines().find_map(|line| line.strip_prefix("DEFAULT_JVM_OPTS=")).unwrap_or_default();
    let words = line.trim_matches('\'').split('"').map(str::trim);
    words.filter(|word| word.starts_with('-') && !word.contains(['$', '\\'])).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "#!/bin/sh\nDEFAULT_JVM_OPTS='\"-Xmx64m\" \"-Da=b c\" \"-Dhome=$APP_HOME\"'\n\
        CLASSPATH=$APP_HOME/lib/app.jar:$APP_HOME/lib/z-1.jar:$APP_HOME/lib/a-1.jar\n\
        set -- \\\n        -classpath \"$CLASSPATH\" \\\n        example.Main \\\n        \"$@\"\n";

    #[test]
    fn the_script_says_what_is_started() {
        assert_eq!(class_path(SCRIPT).unwrap(), ["lib/app.jar", "lib/z-1.jar", "lib/a-1.jar"]);
        assert_eq!(main_class(SCRIPT).unwrap(), "example.Main");
        assert_eq!(default_options(SCRIPT), ["-Xmx64m", "-Da=b c"]);
    }

    #[test]
    fn another_script_says_nothing() {
        for script in ["", "CLASSPATH=/lib/a.jar\n-classpath \"$CLASSPATH\"", "-classpath \"$CLASSPATH\" \"$@\""] {
            assert_eq!((class_path(script), main_class(script)), (None, None), "{script}");
        }
    }
}
