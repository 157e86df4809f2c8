//! What starts a program: its argument file, its flags, and the settings that frameworks need to be good instances.

use barge_image::plan::Entry;

use crate::layers::{Layers, Part};
use crate::manifest::Attributes;
use crate::options::{self, ARGUMENTS, DIAGNOSIS, FLAGS, HOME, JvmOption};
use crate::plan::{Options, PlanError};

/// Reads our default properties in a Spring Boot application; see its source beside it.
const SPRING_DEFAULTS: &[u8] = include_bytes!("../java/SpringDefaults.class");

/// How a program is told to the JVM.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Launch<'a> {
    /// A class path and a class.
    Class(&'a [String], &'a str),
    /// A jar that says the rest itself.
    Jar(&'a str),
    /// Somebody else starts it, and takes our options only.
    Elsewhere,
}

/// Puts the files that start a program into its layers; the result is all of the JVM's options.
pub(crate) fn put(
    layers: &mut Layers,
    options: &Options,
    of_program: Vec<JvmOption>,
    launch: Launch<'_>,
) -> Result<Vec<JvmOption>, PlanError> {
    let all = options::all(options, of_program);
    let launch = match launch {
        Launch::Class(class_path, main) => {
            if let Some(name) = class_path.iter().find(|name| name.contains([':', '*'])) {
                return Err(PlanError::ClassPathName(name.clone()));
            }
            vec!["-cp".to_owned(), class_path.join(":"), main.to_owned()]
        }
        Launch::Jar(jar) => vec!["-jar".to_owned(), jar.to_owned()],
        Launch::Elsewhere => Vec::new(),
    };
    layers.put(Part::Start, DIAGNOSIS, Entry::Shared)?;
    layers.put_text(Part::Start, FLAGS, &options::flags_text(&all), false)?;
    layers.put_text(Part::Start, ARGUMENTS, &options::arguments_text(&all, &launch), false)?;
    Ok(all)
}

/// The command of a program that has an argument file.
pub(crate) fn command() -> Vec<String> {
    vec!["java".to_owned(), format!("@{ARGUMENTS}")]
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
