//! What only a real JVM and a real compiler can tell.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use barge_image::plan::{Content, Entry};
use barge_java::{JavaPlan, Options};
use barge_testkit::tool;

use super::Project;

const PROGRAM: &str = r#"
package example;

public class Main {
    public static void main(String[] words) throws Exception {
        if (System.getenv("FILL") != null) {
            java.util.List<byte[]> all = new java.util.ArrayList<>();
            while (true) {
                all.add(new byte[1 << 20]);
            }
        }
        for (String name : new String[] {"name", "file.encoding", "java.class.path"}) {
            System.out.println(name + "=" + System.getProperty(name));
        }
        System.out.println(new String(Main.class.getResourceAsStream("/text.txt").readAllBytes(), "UTF-8"));
        System.out.println(Class.forName("example.Library"));
    }
}
"#;

/// A program with a library in a file whose name needs quotes, compiled and planned, and written below a directory as an image would be.
struct Program {
    project: Project,
    java: PathBuf,
    app: PathBuf,
}

impl Program {
    fn new(options: &Options) -> Option<Self> {
        let (javac, java) = (tool("javac")?, tool("java")?);
        let project = Project::new();
        project.file("source/example/Main.java", PROGRAM.as_bytes());
        project.file("source/example/Library.java", b"package example; public class Library {}");
        let at = |path: &str| project.path().join(path);
        let sources = ["Main", "Library"].map(|name| at(&format!("source/example/{name}.java")));
        succeed(Command::new(javac).args(["--release", "11", "-d"]).arg(at("classes")).args(sources));
        let class = |name: &str| std::fs::read(at(&format!("classes/example/{name}.class"))).unwrap();
        let jar = |path: &str, members: &[(&str, &[u8])]| {
            project.file(path, &crate::archive::packed(members, crate::archive::deflated()))
        };
        let manifest: &[u8] = b"Main-Class: example.Main\nClass-Path: lib/a%20%23library.jar\n";
        jar("target/lib/a #library.jar", &[("example/Library.class", &class("Library"))]);
        jar(
            "target/a.jar",
            &[
                ("META-INF/MANIFEST.MF", manifest),
                ("example/Main.class", &class("Main")),
                ("text.txt", "caf\u{e9}".as_bytes()),
            ],
        );
        let plan = project.plan_with("target/a.jar", options).unwrap();
        assert_eq!(plan.command, ["java", "@barge/java.args"]);
        write(&plan, project.path());
        let app = project.path().join("app");
        Some(Self { project, java, app })
    }

    fn run(&self, variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(&self.java);
        command.arg("@barge/java.args").current_dir(&self.app).env("LC_ALL", "C").env_remove("JAVA_TOOL_OPTIONS");
        command.envs(variables.iter().copied()).output().unwrap()
    }

    fn left(&self, start: &str) -> bool {
        let names = std::fs::read_dir(self.app.join("barge/diagnosis")).unwrap();
        names.into_iter().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(start))
    }
}

/// Writes what is planned.
fn write(plan: &JavaPlan, root: &Path) {
    for (path, entry) in plan.layers.iter().flat_map(|layer| &layer.entries) {
        let path = root.join(path);
        match entry {
            Entry::Directory | Entry::Shared => std::fs::create_dir_all(&path).unwrap(),
            Entry::Link { target } => std::os::unix::fs::symlink(target, &path).unwrap(),
            Entry::File { content, executable, .. } => {
                match content {
                    Content::Path(source) => drop(std::fs::copy(source, &path).unwrap()),
                    Content::Bytes(bytes) => std::fs::write(&path, bytes).unwrap(),
                    Content::Inside(inside) => {
                        let mut file = std::fs::File::create(&path).unwrap();
                        std::io::copy(&mut inside.open().unwrap(), &mut file).unwrap();
                    }
                }
                std::fs::set_permissions(&path, Permissions::from_mode(if *executable { 0o755 } else { 0o644 }))
                    .unwrap();
            }
        }
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_jvm_takes_the_options_and_the_class_path() {
    let options = Options { jvm: vec!["-Dname=a b \"c\" #d\\e".to_owned()], ..Options::default() };
    let Some(program) = Program::new(&options) else { return };
    let output = program.run(&[]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "name=a b \"c\" #d\\e",
        "file.encoding=UTF-8",
        "java.class.path=classes:lib/a #library.jar",
        "caf\u{e9}",
        "class example.Library",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert!(program.left("gc.log"));
    drop(program.project);
}

const MODULE: &str = r#"
package example;

public class Main {
    public static void main(String[] words) throws Exception {
        System.out.println(Main.class.getModule() + " with " + java.nio.file.Files.readString(java.nio.file.Path.of(System.getProperty("conf"))));
    }
}
"#;

#[test]
fn a_jvm_takes_the_module_and_the_files_of_a_gradle_application() {
    let (Some(javac), Some(java)) = (tool("javac"), tool("java")) else { return };
    let project = Project::new();
    let at = |path: &str| project.path().join(path);
    project.file("source/module-info.java", b"module my.shop {}").file("source/example/Main.java", MODULE.as_bytes());
    let sources = ["source/module-info.java", "source/example/Main.java"].map(at);
    succeed(Command::new(javac).args(["--release", "11", "-d"]).arg(at("classes")).args(sources));
    let [module, main] = ["module-info.class", "example/Main.class"]
        .map(|name| (name, std::fs::read(at("classes").join(name)).unwrap()));
    let jar = crate::archive::packed(&[(module.0, &module.1), (main.0, &main.1)], crate::archive::deflated());
    let script = "MODULE_PATH=$APP_HOME/lib/shop.jar\nDEFAULT_JVM_OPTS='\"-Dconf='$APP_HOME'/conf/shop.txt\"'\n\
        set -- \\\n --module-path \"$MODULE_PATH\" \\\n --module my.shop/example.Main \\\n \"$@\"\n";
    project.file("install/shop/bin/shop", script.as_bytes()).file("install/shop/bin/shop.bat", b"");
    project.file("install/shop/lib/shop.jar", &jar).file("install/shop/conf/shop.txt", b"settings");
    write(&project.plan("install/shop"), project.path());
    let output = Command::new(java).arg("@barge/java.args").current_dir(at("app")).output().unwrap();
    assert_eq!(text(&output), "module my.shop with settings\n");
}

#[test]
fn variables_win_over_our_options() {
    let options = Options { limited_memory: true, ..Options::default() };
    let Some(program) = Program::new(&options) else { return };
    let flag = |variables: &[(&str, &str)], name: &str| {
        let mut all = vec![("JDK_JAVA_OPTIONS", "-XX:+PrintFlagsFinal")];
        all.extend_from_slice(variables);
        let said = text(&program.run(&all));
        let line =
            said.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().nth(3).unwrap().to_owned()
    };
    assert_eq!(flag(&[], "MaxRAMPercentage"), "70.000000");
    assert_eq!(flag(&[("JAVA_TOOL_OPTIONS", "-XX:MaxRAMPercentage=33")], "MaxRAMPercentage"), "33.000000");
    assert_eq!(flag(&[], "ExitOnOutOfMemoryError"), "true");
    assert_eq!(flag(&[("JAVA_TOOL_OPTIONS", "-XX:-ExitOnOutOfMemoryError")], "ExitOnOutOfMemoryError"), "false");
    let both = "-XX:+PrintFlagsFinal -XX:HeapDumpPath=elsewhere";
    assert_eq!(flag(&[("JDK_JAVA_OPTIONS", both)], "HeapDumpPath"), "elsewhere");
}

#[test]
fn memory_that_runs_out_is_dumped_and_told_before_the_end() {
    let options = Options { jvm: vec!["-Xmx16m".to_owned()], ..Options::default() };
    let Some(program) = Program::new(&options) else { return };
    let output = program.run(&[("FILL", "1")]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("Terminating due to java.lang.OutOfMemoryError: Java heap space"), "{said}");
    assert!(program.left("java_pid"), "{said}");
}

/// The classes beside their sources are what a compiler makes of them. `BARGE_UPDATE=1` writes them anew.
#[test]
fn classes_are_what_their_sources_say() {
    let Some(javac) = tool("javac") else { return };
    let java = Path::new(env!("CARGO_MANIFEST_DIR")).join("java");
    let made = tempfile::tempdir().unwrap();
    let sources = ["SpringDefaults", "TomcatStart"];
    let files = sources.map(|name| java.join(format!("dev/barge/{name}.java")));
    let mut command = Command::new(&javac);
    command.args(["--release", "8", "-g:none", "-proc:none", "-sourcepath"]).arg(java.join("stubs"));
    succeed(command.arg("-d").arg(made.path()).args(files));
    let version = text(&Command::new(&javac).arg("-version").output().unwrap());
    for name in sources {
        let new = std::fs::read(made.path().join(format!("dev/barge/{name}.class"))).unwrap();
        let stored = java.join(format!("{name}.class"));
        if std::env::var_os("BARGE_UPDATE").is_some() {
            std::fs::write(&stored, &new).unwrap();
        }
        // Other compilers order some parts of a class in another way.
        if version.contains("javac 17.") {
            assert!(
                std::fs::read(&stored).unwrap() == new,
                "{name}.class is not what {name}.java says; hint: BARGE_UPDATE=1"
            );
        }
    }
}
