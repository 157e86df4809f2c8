//! Gradle's applications, as `installDist` leaves them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::{Project, on_command_line, text_of, told};

const ROOT: &str = "build/install/shop";

/// What such a script does since version 7 of Gradle, and before. `OPTIONS` stands for what a build says.
const SINCE_7: &str = r#"#!/bin/sh
APP_BASE_NAME=${0##*/}
APP_HOME=$(cd "$(dirname "$0")/.." && pwd -P)
CLASSPATH=$APP_HOME/conf:$APP_HOME/lib/shop.jar:$APP_HOME/lib/z-1.jar
DEFAULT_JVM_OPTS=OPTIONS
set -- \
        "-Dname=$APP_BASE_NAME" \
        -classpath "$CLASSPATH" \
        example.Main \
        "$@"
eval "set -- $DEFAULT_JVM_OPTS "'"$@"'
exec java "$@"
"#;
const BEFORE_7: &str = r#"#!/bin/sh
APP_BASE_NAME=`basename "$0"`
APP_HOME="`cd "$(dirname "$0")/.." && pwd -P`"
DEFAULT_JVM_OPTS=OPTIONS
CLASSPATH=$APP_HOME/conf:$APP_HOME/lib/shop.jar:$APP_HOME/lib/z-1.jar
eval set -- $DEFAULT_JVM_OPTS $JAVA_OPTS $SHOP_OPTS "\"-Dname=$APP_BASE_NAME\"" -classpath "\"$CLASSPATH\"" example.Main "$APP_ARGS"
exec java "$@"
"#;

/// As the plugin writes `["-Da=b c", "-Dd='e'", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-Dprice=$5"]`, and one with the
/// application's directory, which a build puts in afterwards.
const OPTIONS: &str = r#"'"-Da=b c" "-Dd='"'"'e'"'"'" "--add-opens" "java.base/java.lang=ALL-UNNAMED" "-Dprice=\$5" "-Dconf='$APP_HOME'/conf/shop.properties"'"#;

/// An application with a script.
fn installed(script: &str) -> Project {
    let project = Project::new();
    project.file(&format!("{ROOT}/bin/shop"), script.replace("OPTIONS", OPTIONS).as_bytes());
    for file in
        ["bin/shop.bat", "bin/helper", "conf/shop.properties", "lib/shop.jar", "lib/z-1.jar", "lib/native/libshop.so"]
    {
        project.file(&format!("{ROOT}/{file}"), b"");
    }
    let at = |path: &str| project.path().join(ROOT).join(path);
    for program in ["bin/shop", "bin/helper"] {
        std::fs::set_permissions(at(program), PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir_all(at("agent/v2")).unwrap();
    symlink("v2", at("agent/current")).unwrap();
    project
}

#[test]
fn a_plan_has_all_that_is_installed() {
    insta::assert_snapshot!(told(&installed(SINCE_7).plan(ROOT)));
}

/// What the script gives to `java`, a word in each line, with its own directory as the working directory.
fn given(project: &Project) -> Vec<String> {
    let java = project.path().join("programs/java");
    project.file("programs/java", b"#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
    std::fs::set_permissions(&java, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", java.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new(project.path().join(ROOT).join("bin/shop"))
        .env("PATH", path)
        .env_remove("JAVA_OPTS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let home = format!("{}/", project.path().canonicalize().unwrap().join(ROOT).display());
    String::from_utf8(output.stdout).unwrap().replace(&home, "").lines().map(str::to_owned).collect()
}

#[test]
fn the_jvm_is_told_what_the_script_would_tell_it() {
    for script in [SINCE_7, BEFORE_7] {
        let project = installed(script);
        let plan = project.plan(ROOT);
        let given = given(&project);
        assert!(given.contains(&"-Dd='e'".to_owned()) && given.contains(&"-Dprice=$5".to_owned()), "{given:?}");
        let [.., class_path_option, class_path, main] = given.as_slice() else { panic!("{given:?}") };
        assert_eq!((class_path_option.as_str(), class_path), ("-classpath", &plan.class_path.join(":")));
        let arguments = text_of(&plan, "app/barge/java.args");
        assert!(arguments.ends_with(&format!("-cp\n{class_path}\n{main}\n")), "{arguments}");
        let told = on_command_line(&plan);
        let options = &given[..given.len() - 3];
        let mut ours = told[told.len() - options.len()..].to_vec();
        // In which order the script's own options stand differs between versions, and makes no difference.
        let mut theirs: Vec<&str> = options.iter().map(String::as_str).collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs, "{script}");
        assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    }
}

#[test]
fn what_only_the_script_knows_is_warned_of_by_name() {
    let project = installed(SINCE_7);
    let script = SINCE_7
        .replace("OPTIONS", "'\"-Xss1m\" \"-Dlog=file:$APP_HOME/conf/log.xml\"'")
        .replace("$APP_HOME/conf:", "/etc/shop:$APP_HOME/etc/:");
    project.file(&format!("{ROOT}/bin/shop"), script.as_bytes());
    let plan = project.plan(ROOT);
    assert_eq!(plan.class_path, ["lib/shop.jar", "lib/z-1.jar"]);
    let warnings = plan.warnings.join("\n");
    assert!(warnings.contains("-Dlog=file:$APP_HOME/conf/log.xml") && warnings.contains("\"/etc/shop\""), "{warnings}");
    assert!(plan.notes[0].contains("etc of the class path in bin/shop is not there"), "{:?}", plan.notes);
    assert!(on_command_line(&plan).contains(&"-Xss1m"));
}

#[test]
fn all_jars_of_a_directory_are_taken_by_name() {
    let project = installed(&SINCE_7.replace("$APP_HOME/lib/shop.jar:$APP_HOME/lib/z-1.jar", "$APP_HOME/lib/*"));
    let plan = project.plan(ROOT);
    assert_eq!(plan.class_path, ["conf", "lib/shop.jar", "lib/z-1.jar"]);
    assert!(plan.notes[0].contains("lib/*"), "{:?}", plan.notes);
}

#[test]
fn a_module_is_started_as_one() {
    let words = "--module-path \"$MODULE_PATH\" \\\n        --module my.shop/example.Main";
    let script = SINCE_7
        .replace("example.Main", words)
        .replace("CLASSPATH=$APP_HOME/conf:", "CLASSPATH=$APP_HOME/conf\nMODULE_PATH=");
    let plan = installed(&script).plan(ROOT);
    assert_eq!(plan.class_path, ["lib/shop.jar", "lib/z-1.jar", "conf"]);
    let arguments = text_of(&plan, "app/barge/java.args");
    let end = "-p\nlib/shop.jar:lib/z-1.jar\n-cp\nconf\n-m\nmy.shop/example.Main\n";
    assert!(arguments.ends_with(end), "{arguments}");
}

fn remove(project: &Project, path: &str) {
    std::fs::remove_file(project.path().join(ROOT).join(path)).unwrap();
}

#[test]
fn what_is_not_as_gradle_leaves_it_is_told() {
    let project = installed(SINCE_7);
    remove(&project, "lib/z-1.jar");
    assert!(
        project
            .error(ROOT)
            .starts_with("build/install/shop/bin/shop names lib/z-1.jar, which is not there\nhint: `gradle")
    );
    project.file(&format!("{ROOT}/bin/shop"), b"#!/bin/sh\n");
    assert!(project.error(ROOT).contains("does not say which class is the main one\nhint: "));
    project.file(&format!("{ROOT}/lib/z-1.jar"), b"");
    // One script more does not hide that of the directory's name; two others are a question.
    for name in ["admin", "admin.bat", "tool", "tool.bat"] {
        project.file(&format!("{ROOT}/bin/{name}"), SINCE_7.replace("OPTIONS", "\"\"").as_bytes());
    }
    assert!(project.error(ROOT).contains("bin/shop does not say"));
    remove(&project, "bin/shop.bat");
    assert!(
        project.error(ROOT).contains("several start scripts in bin/, and none of its own name: admin, tool\nhint: ")
    );
    symlink(Path::new("/etc"), project.path().join(ROOT).join("etc")).unwrap();
    remove(&project, "bin/tool.bat");
    assert!(project.error(ROOT).contains("etc is a link to /etc, which lies outside of the built files"));
}
