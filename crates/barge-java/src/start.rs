//! What starts a program: its argument file, its flags, and the settings that frameworks need to be good instances.

use barge_image::plan::Entry;

use crate::layers::{Layers, Part};
use crate::manifest::Attributes;
use crate::options::{self, ARGUMENTS, DIAGNOSIS, FLAGS, HOME, JvmOption};
use crate::plan::{JavaPlan, Options, PlanError};

/// Reads our default properties in a Spring Boot application; see its source beside it.
const SPRING_DEFAULTS: &[u8] = include_bytes!("../java/SpringDefaults.class");

/// What starts a program.
#[derive(Debug)]
pub(crate) enum Launch {
    /// A class of the class path.
    Class(String),
    /// A module, which is looked for in a path of its own, before the class path.
    Module(String, Vec<String>),
    /// A jar that says the rest itself.
    Jar(&'static str),
    /// A script that finds Tomcat, which takes our options only.
    Tomcat(&'static str),
}

/// What is particular to a program; all the rest of its plan follows from that, from its layers and from what the project chooses.
#[derive(Debug)]
pub(crate) struct Program {
    /// What it is, in words.
    pub(crate) kind: String,
    /// Why it was taken for that.
    pub(crate) why: String,
    /// Where its classes are looked for, in this order.
    pub(crate) class_path: Vec<String>,
    pub(crate) launch: Launch,
    /// Options of the JVM that it asks for itself.
    pub(crate) asked: Vec<JvmOption>,
}

impl Program {
    /// Its plan, of which nothing has to be told yet.
    pub(crate) fn plan(self, mut layers: Layers, options: &Options) -> Result<JavaPlan, PlanError> {
        let Self { kind, why, mut class_path, launch, asked } = self;
        let all = options::all(options, asked);
        let words = launch.words(&class_path)?;
        layers.put(Part::Start, DIAGNOSIS, Entry::Shared)?;
        layers.put_text(Part::Start, FLAGS, &options::flags_text(&all), false)?;
        layers.put_text(Part::Start, ARGUMENTS, &options::arguments_text(&all, &words), false)?;
        let needs_tomcat = matches!(launch, Launch::Tomcat(_));
        let command = match launch {
            Launch::Tomcat(script) => vec![script.to_owned()],
            Launch::Class(_) | Launch::Module(..) | Launch::Jar(_) => vec!["java".to_owned(), format!("@{ARGUMENTS}")],
        };
        if let Launch::Module(_, path) = launch {
            class_path.splice(0..0, path);
        }
        let artifact = layers.artifact().to_owned();
        let (notes, warnings, layers) = (Vec::new(), Vec::new(), layers.finish());
        Ok(JavaPlan { kind, why, artifact, layers, command, class_path, options: all, needs_tomcat, notes, warnings })
    }
}

impl Launch {
    /// What follows the JVM's options.
    fn words(&self, class_path: &[String]) -> Result<Vec<String>, PlanError> {
        let path = |option: &str, path: &[String]| match path.iter().find(|name| name.contains([':', '*'])) {
            Some(name) => Err(PlanError::ClassPathName(name.clone())),
            None if path.is_empty() => Ok(Vec::new()),
            None => Ok(vec![option.to_owned(), path.join(":")]),
        };
        Ok(match self {
            Self::Class(main) => [path("-cp", class_path)?, vec![main.clone()]].concat(),
            Self::Module(module, module_path) => {
                [path("-p", module_path)?, path("-cp", class_path)?, vec!["-m".to_owned(), module.clone()]].concat()
            }
            Self::Jar(jar) => vec!["-jar".to_owned(), (*jar).to_owned()],
            Self::Tomcat(_) => Vec::new(),
        })
    }
}

/// What a manifest asks of `java -jar`, which does not see it any more (JAR File Specification, "Main Attributes").
pub(crate) fn of_manifest(attributes: &Attributes) -> Vec<JvmOption> {
    let why = "the jar's manifest asks for it";
    let words = |name: &str| attributes.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let opens: Vec<String> = words("Add-Opens");
    let exports: Vec<String> = words("Add-Exports");
    let opens = opens.iter().map(|package| format!("--add-opens={package}=ALL-UNNAMED"));
    let exports = exports.iter().map(|package| format!("--add-exports={package}=ALL-UNNAMED"));
    let native = attributes.get("Enable-Native-Access").map(|_| "--enable-native-access=ALL-UNNAMED".to_owned());
    opens.chain(exports).chain(native).map(|option| JvmOption::on_command_line(option, why)).collect()
}

/// What of a manifest has no effect, in words.
pub(crate) fn unused(attributes: &Attributes) -> Vec<String> {
    let agent = attributes.get("Launcher-Agent-Class");
    let told = |class| {
        format!("the manifest's Launcher-Agent-Class {class} is not started; -javaagent in build.jvm can do it")
    };
    agent.map(told).into_iter().collect()
}

/// Puts Spring Boot's default properties; the result is where they are in the class path, which is its end.
///
/// The application's own properties, its variables and options all win. Four fifths of the time until it is killed are for requests that
/// are still being answered; the rest is for what it does after them.
pub(crate) fn put_spring(layers: &mut Layers, options: &Options) -> Result<String, PlanError> {
    let directory = format!("{HOME}/spring");
    let wait = options.grace.as_millis() * 4 / 5;
    let properties = format!(
        "# Below everything else that sets them.\n\
         server.address=${{HOST:0.0.0.0}}\n\
         server.port=${{PORT:8080}}\n\
         server.shutdown=graceful\n\
         spring.lifecycle.timeout-per-shutdown-phase={wait}ms\n"
    );
    let factories = "org.springframework.context.ApplicationListener=dev.barge.SpringDefaults\n";
    layers.put_text(Part::Start, &format!("{directory}/META-INF/spring.factories"), factories, false)?;
    layers.put_bytes(Part::Start, &format!("{directory}/dev/barge/SpringDefaults.class"), SPRING_DEFAULTS, false)?;
    layers.put_text(Part::Start, &format!("{directory}/spring-defaults.properties"), &properties, false)?;
    Ok(directory)
}

/// Whether libraries among a program's are Spring Boot.
pub(crate) fn is_spring<'a>(mut libraries: impl Iterator<Item = &'a str>) -> bool {
    libraries.any(|name| {
        let name = name.rsplit('/').next().unwrap_or(name);
        name.strip_prefix("spring-boot-").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    })
}
