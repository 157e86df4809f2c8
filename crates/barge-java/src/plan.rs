//! What goes where in the image of a Java program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use barge_image::plan::PlannedLayer;
use barge_image::scan::ScanError;

use crate::archive::ArchiveError;
use crate::artifact::Artifact;
use crate::files::Files;
use crate::kinds::{boot, install, jar, quarkus, war};
use crate::manifest::Attributes;
use crate::options::JvmOption;

/// Why a program cannot become an image.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The directory cannot be looked at.
    #[error("look at the built files")]
    Scan(#[source] ScanError),
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A text that is larger than any of its kind.
    #[error("{path} has more than {limit} bytes")]
    TooLarge {
        /// Which one.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file that was listed a moment before.
    #[error("{0} was there and is gone: it is being built right now")]
    Lost(PathBuf),
    /// A symbolic link in a program's directory.
    #[error("{0} is a symbolic link; a Java program's directory holds files")]
    Link(PathBuf),
    /// A name that would remove files in an image instead of bringing one.
    #[error("{path}: the name {name:?} begins with .wh., which in an image removes another file")]
    Whiteout {
        /// The program.
        path: PathBuf,
        /// The file in it.
        name: String,
    },
    /// Two files that would be one in the image.
    #[error("{path}: two of its files would be /{name} in the image")]
    Twice {
        /// The program.
        path: PathBuf,
        /// The path in the image.
        name: String,
    },
    /// A name that cannot be in a class path.
    #[error("{0:?} cannot be in a class path: its name has a ':' or a '*'")]
    ClassPathName(String),
    /// A jar without a main class.
    #[error("{0} is a library: its manifest names no Main-Class")]
    Library(PathBuf),
    /// Spring Boot's launcher without anything to launch.
    #[error("{0} is started by Spring Boot's {1}, and its manifest names no Start-Class")]
    NoStartClass(PathBuf, String),
    /// An index that is not one.
    #[error("{path}: {index} cannot be understood")]
    Index {
        /// The program.
        path: PathBuf,
        /// The index in it.
        index: String,
    },
    /// Jars that a manifest names and nobody has put there.
    #[error("{}: its manifest's Class-Path names {}, which {} not there", path.display(), missing.join(", "), if missing.len() == 1 { "is" } else { "are" })]
    Missing {
        /// The program.
        path: PathBuf,
        /// What is not there, as written.
        missing: Vec<String>,
    },
    /// An entry of a Class-Path that names no file here.
    #[error("{path}: its manifest's Class-Path names {entry:?}, which is not a path relative to the jar")]
    ClassPathEntry {
        /// The program.
        path: PathBuf,
        /// The entry as written.
        entry: String,
    },
    /// A directory that is none of those that are known.
    #[error("{0} is no program: neither Quarkus's nor Gradle's, and no jar or war that was unpacked")]
    Unknown(PathBuf),
    /// A start script that says less than was expected.
    #[error("{path} does not say {what}")]
    Script {
        /// Gradle's start script.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// Files that a start script names and nobody has put there.
    #[error("{} names {}, which {} not there", path.display(), missing.join(", "), if missing.len() == 1 { "is" } else { "are" })]
    NotInstalled {
        /// Gradle's start script.
        path: PathBuf,
        /// What is not there.
        missing: Vec<String>,
    },
    /// Several programs in one directory.
    #[error("{path} has several start scripts in bin/, and none of its own name: {}", scripts.join(", "))]
    Scripts {
        /// The directory that Gradle has written.
        path: PathBuf,
        /// The names of the scripts.
        scripts: Vec<String>,
    },
    /// A path that Tomcat cannot serve an application at.
    #[error("context_path {0:?} cannot be one: letters, digits, '-', '_', '.' and '/' between them")]
    ContextPath(String),
    /// An option that is none.
    #[error("build.jvm: {0:?} is no option of the JVM: each begins with '-' and is one line")]
    JvmOption(String),
}

impl PlanError {
    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Library(_) => Some(
                "set the main class where the jar is made (maven-jar-plugin's manifest, Gradle's `jar`, spring-boot-maven-plugin's `repackage`), \
                 or name the program in barge.yaml: `build: {path: FILE}`",
            ),
            Self::Missing { .. } => Some(
                "have the build put them there (maven-dependency-plugin's `copy-dependencies` with outputDirectory), or make a jar with everything in it",
            ),
            Self::Link(_) => Some("name the jar or war itself: `build: {path: FILE}`"),
            Self::NotInstalled { .. } => Some("`gradle installDist` anew"),
            Self::Script { .. } | Self::Scripts { .. } => Some(
                "`build: {path: build/install/NAME}` with `command: bin/NAME` in barge.yaml starts a script itself, with the directory as it is",
            ),
            Self::Index { .. } => Some("build it anew with the build tool's Spring Boot plugin"),
            Self::Lost(_) => Some("wait for the build to end and try again"),
            Self::ClassPathEntry { .. } => Some("copy it beside the jar, and name it relative to the jar"),
            _ => None,
        }
    }
}

/// What a project may choose, and what it says elsewhere that concerns its JVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where Tomcat serves a war: empty for the root, else such as `shop`.
    pub context_path: String,
    /// Options of the JVM after ours, so that they win.
    pub jvm: Vec<String>,
    /// Whether an instance's memory is limited: only then most of it is the heap's.
    pub limited_memory: bool,
    /// From the stop signal until the process is killed.
    pub grace: Duration,
    /// What the project's variables say to the JVM (`JAVA_TOOL_OPTIONS` and such): what is said there is not said by us.
    pub said: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            context_path: String::new(),
            jvm: Vec::new(),
            limited_memory: false,
            grace: Duration::from_secs(10),
            said: Vec::new(),
        }
    }
}

/// A Java program, ready to become layers.
#[derive(Debug, Clone)]
pub struct JavaPlan {
    /// What it is, in words, such as `Spring Boot 3.4 jar`.
    pub kind: String,
    /// Why it was taken for that.
    pub why: String,
    /// The file or directory that it comes from.
    pub artifact: PathBuf,
    /// Its layers, those that change least first.
    pub layers: Vec<PlannedLayer>,
    /// What starts it, in /app.
    pub command: Vec<String>,
    /// Where classes are looked for, in this order; paths relative to /app. Those of Tomcat come after a war's own and are not here.
    pub class_path: Vec<String>,
    /// The options that its JVM is started with, ours first.
    pub options: Vec<JvmOption>,
    /// Whether it needs Tomcat in its base, not only a Java runtime.
    pub needs_tomcat: bool,
    /// What people should know who look at the plan.
    pub notes: Vec<String>,
    /// What people should know in any case: something of the program has no effect.
    pub warnings: Vec<String>,
}

/// Plans.
///
/// # Errors
/// The artifact cannot be read or understood.
pub fn plan(artifact: &Artifact, options: &Options) -> Result<JavaPlan, PlanError> {
    let path = artifact.path.as_path();
    if let Some(option) =
        options.jvm.iter().find(|option| !option.starts_with('-') || option.contains(['\n', '\r', '\0']))
    {
        return Err(PlanError::JvmOption(option.clone()));
    }
    if quarkus::is(path) {
        return quarkus::plan(path, options);
    }
    if install::is(path) {
        return install::plan(path, options);
    }
    let (files, attributes) = open(path)?;
    if boot::is(&attributes) {
        boot::plan(&files, &attributes, options)
    } else if war::is(&files) {
        war::plan(&files, options)
    } else if path.is_dir() && !attributes.has_any() {
        Err(PlanError::Unknown(path.to_owned()))
    } else {
        jar::plan(&files, &attributes, options)
    }
}

/// Opens a program. A jar that cannot be unpacked is one all the same, where it may stay whole.
fn open(path: &Path) -> Result<(Files, Attributes), PlanError> {
    let refused = match Files::open(path) {
        Ok(files) => return files.attributes().map(|attributes| (files, attributes)),
        Err(error) => error,
    };
    let whole = Files::open_whole(path).and_then(|files| files.attributes().map(|attributes| (files, attributes)));
    match whole {
        Ok((files, attributes)) if !boot::is(&attributes) && !war::is(&files) => Ok((files, attributes)),
        _ => Err(refused),
    }
}

/// Whether `path` is something that [`plan`] is for: a jar or war, unpacked or not, or a directory of Quarkus or Gradle.
pub fn is_program(path: &Path) -> bool {
    let ends = |end: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(end));
    if path.is_file() {
        return ends("jar") || ends("war");
    }
    let unpacked = ["META-INF/MANIFEST.MF", "WEB-INF/web.xml", "WEB-INF/classes", "WEB-INF/lib"];
    quarkus::is(path) || install::is(path) || unpacked.iter().any(|inside| path.join(inside).exists())
}
