//! The programs: as Maven leaves them, for Barge, and as directories with classes and with dependencies, which is how Jib takes them.
//! Both are changed together.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use barge_world::JavaProject;

use crate::{Stage, files, run};

/// The version that a class says, as a constant in its file: a length and three letters.
const VERSION: &[u8] = b"\x00\x03one";

/// A built program.
pub(crate) struct Program {
    /// For repositories and the table.
    pub(crate) name: &'static str,
    /// What it is, in words.
    pub(crate) what: String,
    /// With `barge.yaml`.
    pub(crate) project: PathBuf,
    /// With `classes` and `lib`.
    pub(crate) directory: PathBuf,
    archive: PathBuf,
    /// The class that is changed, below `classes` and as a member of the archive, and its first bytes.
    class: (PathBuf, String, Vec<u8>),
    /// The dependency that is changed, the member that it is, if it is one, and its first bytes.
    dependency: (PathBuf, Option<String>, Vec<u8>),
    changes: Cell<u32>,
    driver: String,
}

impl Program {
    /// The Spring Boot application of `examples/java-boot`.
    pub(crate) fn boot(stage: &Stage) -> Self {
        let built = JavaProject::copy("java-boot", &stage.platform.project("boot")).unwrap();
        let project = built.path("web");
        let archive = project.join("target/web-1.0-SNAPSHOT.jar");
        let directory = stage.platform.project("boot-for-jib");
        run(Command::new("jar").arg("-xf").arg(&archive).args(["BOOT-INF/lib"]).current_dir(&directory));
        std::fs::rename(directory.join("BOOT-INF/lib"), directory.join("lib")).unwrap();
        copy(&project.join("target/classes"), &directory.join("classes"));
        let class = "example/web/Greetings.class";
        let dependency = files(&directory.join("lib"))
            .into_iter()
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("commons-lang3"))
            .unwrap();
        let member = format!("BOOT-INF/lib/{}", dependency.file_name().unwrap().to_string_lossy());
        Self::new(
            ("boot", "Spring Boot application"),
            (project, directory, archive),
            (class, format!("BOOT-INF/classes/{class}")),
            (dependency, Some(member)),
            stage,
        )
    }

    /// A jar with so many others beside it.
    pub(crate) fn large(stage: &Stage, dependencies: usize) -> Self {
        let project = stage.platform.project("large");
        let directory = stage.platform.project("large-for-jib");
        // A class that says a version, in a package of the same name.
        let class = "example/web/Greetings.class";
        copy(&stage.platform.project("boot-for-jib").join("classes"), &directory.join("classes"));
        let lib = directory.join("lib");
        run(driver(&stage.driver, "example.Jars").arg(&lib).arg(dependencies.to_string()));
        let target = project.join("target");
        copy(&lib, &target.join("lib"));
        let names = files(&lib).into_iter().map(|path| format!("lib/{}", path.file_name().unwrap().display()));
        // A line that begins with a space goes on with the one before (JAR File Specification).
        let class_path = names.collect::<Vec<_>>().join("\n  ");
        let manifest = format!("Main-Class: example.web.Application\nClass-Path: {class_path}\n");
        std::fs::write(project.join("manifest"), manifest).unwrap();
        let archive = target.join("large.jar");
        run(Command::new("jar")
            .arg("--create")
            .arg(format!("--file={}", archive.display()))
            .arg(format!("--manifest={}", project.join("manifest").display()))
            .arg("-C")
            .arg(directory.join("classes"))
            .arg("."));
        let dependency = lib.join("dependency-007-1.0.jar");
        Self::new(
            ("large", "Generated program"),
            (project, directory, archive),
            (class, class.to_owned()),
            (dependency, None),
            stage,
        )
    }

    fn new(
        (name, what): (&'static str, &str),
        (project, directory, archive): (PathBuf, PathBuf, PathBuf),
        (class, member): (&str, String),
        (dependency, member_of_dependency): (PathBuf, Option<String>),
        stage: &Stage,
    ) -> Self {
        let class = directory.join("classes").join(class);
        let (class_bytes, dependency_bytes) = (std::fs::read(&class).unwrap(), std::fs::read(&dependency).unwrap());
        let all = files(&directory);
        let size: u64 = all.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
        let jars = files(&directory.join("lib")).len();
        let what = format!("{what}: {jars} dependencies, {:.0} MiB", mebibytes(size));
        Self {
            name,
            what,
            project,
            directory,
            archive,
            class: (class, member, class_bytes),
            dependency: (dependency, member_of_dependency, dependency_bytes),
            changes: Cell::new(0),
            driver: stage.driver.clone(),
        }
    }

    /// Gives the class a version that it never had.
    pub(crate) fn change_class(&self) {
        let (path, member, bytes) = &self.class;
        let at = bytes.windows(VERSION.len()).position(|window| window == VERSION).unwrap();
        let mut bytes = bytes.clone();
        bytes[at + 2..at + VERSION.len()].copy_from_slice(self.next().as_bytes());
        std::fs::write(path, bytes).unwrap();
        self.edit(member, path);
    }

    /// Gives a dependency a comment (APPNOTE 4.3.16) that it never had.
    pub(crate) fn change_dependency(&self) {
        let (path, member, bytes) = &self.dependency;
        let mut bytes = bytes.clone();
        let length = bytes.len() - 2;
        assert_eq!(bytes[length..], [0, 0], "{} has a comment", path.display());
        bytes[length] = 3;
        bytes.extend(self.next().bytes());
        std::fs::write(path, bytes).unwrap();
        match member {
            Some(member) => self.edit(member, path),
            None => {
                let beside = self.project.join("target/lib").join(path.file_name().unwrap());
                std::fs::copy(path, beside).unwrap();
            }
        }
    }

    fn edit(&self, member: &str, content: &Path) {
        run(driver(&self.driver, "example.Edited").arg(&self.archive).arg(member).arg(content));
    }

    fn next(&self) -> String {
        self.changes.set(self.changes.get() + 1);
        format!("{:03}", self.changes.get())
    }
}

/// One of the driver's programs.
pub(crate) fn driver(class_path: &str, class: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-DsendCredentialsOverHttp=true", "-cp", class_path, class]);
    java
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    run(Command::new("cp").arg("-r").arg(from.join(".")).arg(to));
}

/// For people.
#[allow(clippy::cast_precision_loss)] // To whole mebibytes.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
