//! A war for Tomcat: unpacked below webapps/, with the base's Tomcat and a configuration of ours around it.

use barge_image::plan::Entry;

use crate::files::Files;
use crate::layers::{self, Layers, Part};
use crate::manifest;
use crate::plan::{JavaPlan, Options, PlanError};
use crate::start::{Launch, Program};

/// Where the script is that finds Tomcat and starts it, below /app.
const STARTER: &str = "barge/tomcat.sh";

const SCRIPT: &str = include_str!("../../tomcat/tomcat.sh");
const SERVER: &str = include_str!("../../tomcat/server.xml");
const LOGGING: &str = include_str!("../../tomcat/logging.properties");

/// Ends Tomcat when the application did not start; see its source beside it.
const START: &[u8] = include_bytes!("../../java/TomcatStart.class");

/// How many classes, and bytes of them, are looked through for the servlet API that they use.
const LOOKED_AT: (usize, u64) = (5000, 1 << 20);

/// Whether it is one.
pub(crate) fn is(files: &Files) -> bool {
    files.root().extension().is_some_and(|end| end.eq_ignore_ascii_case("war")) || files.has_below("WEB-INF/")
}

/// Plans.
pub(crate) fn plan(files: &Files, options: &Options) -> Result<JavaPlan, PlanError> {
    let application = format!("webapps/{}", directory(&options.context_path)?);
    let mut layers = Layers::new(files.root());
    let mut libraries = Vec::new();
    for file in files.iter() {
        let (part, stamped) = match file.name.strip_prefix("WEB-INF/") {
            Some(inside) => match (inside.strip_prefix("classes/"), inside.strip_prefix("lib/")) {
                (Some(own), _) => (layers::of_own_file(own), layers::is_page(own)),
                (_, Some(library)) => {
                    libraries.extend(library.ends_with(".jar").then(|| format!("{application}/WEB-INF/lib/{library}")));
                    (layers::of_library(library), false)
                }
                _ => (Part::Resources, false),
            },
            None if file.name == manifest::PATH || file.name.starts_with("META-INF/maven/") => (Part::Classes, false),
            None => (Part::Resources, !file.name.starts_with("META-INF/")),
        };
        layers.put(part, &format!("{application}/{}", file.name), files.entry(file, stamped)?)?;
    }
    let api = servlet_api(files)?;
    put_tomcat(&mut layers, options, api)?;
    // Tomcat goes through the libraries as its file system lists them; sorted is what can be said.
    libraries.sort();
    let program = Program {
        kind: "war".to_owned(),
        why: match api {
            Some(api) => format!("it has WEB-INF/ and no main class; its classes use {api}.servlet"),
            None => "it has WEB-INF/ and no main class".to_owned(),
        },
        class_path: std::iter::once(format!("{application}/WEB-INF/classes")).chain(libraries).collect(),
        launch: Launch::Tomcat(STARTER),
        asked: Vec::new(),
    };
    program.plan(layers, options)
}

fn put_tomcat(layers: &mut Layers, options: &Options, api: Option<&str>) -> Result<(), PlanError> {
    let wait = (options.grace * 4 / 5).as_millis().to_string();
    let part = Part::Start;
    // Where Tomcat and the script write, whoever the base has them run as.
    for directory in ["conf", "logs", "temp", "work"] {
        layers.put(part, directory, Entry::Shared)?;
    }
    layers.put_text(part, STARTER, &SCRIPT.replace("@WANTED@", api.unwrap_or("unknown")), true)?;
    layers.put_text(part, "conf/server.xml", &SERVER.replace("@WAIT@", &wait), false)?;
    layers.put_text(part, "conf/logging.properties", LOGGING, false)?;
    // Both are in Tomcat's own class path: lib/ of CATALINA_BASE.
    layers.put_bytes(part, "lib/dev/barge/TomcatStart.class", START, false)
}

/// The directory below webapps/ that Tomcat serves at a path: `ROOT`, or with '#' for '/' (Tomcat, "Context Path and Base File Name").
fn directory(context_path: &str) -> Result<String, PlanError> {
    let path = context_path.trim_matches('/');
    if path.is_empty() {
        return Ok("ROOT".to_owned());
    }
    let letters = |part: &str| part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && letters(part);
    if path.split('/').all(is_part) {
        Ok(path.replace('/', "#"))
    } else {
        Err(PlanError::ContextPath(context_path.to_owned()))
    }
}

/// Which servlet API the project's own classes use: `javax` up to Tomcat 9, `jakarta` from 10 on; none where they use neither, or both.
/// Names of classes stand in a class file as they are.
fn servlet_api(files: &Files) -> Result<Option<&'static str>, PlanError> {
    let is_class = |name: &str| name.starts_with("WEB-INF/classes/") && name.ends_with(".class");
    let (count, limit) = LOOKED_AT;
    let classes = files.iter().filter(|file| is_class(&file.name) && file.size <= limit).take(count);
    let (mut javax, mut jakarta) = (false, false);
    for file in classes {
        let bytes = files.bytes(&file.name, limit)?.unwrap_or_default();
        javax |= contains(&bytes, b"javax/servlet/");
        jakarta |= contains(&bytes, b"jakarta/servlet/");
    }
    Ok(match (javax, jakarta) {
        (true, false) => Some("javax"),
        (false, true) => Some("jakarta"),
        _ => None,
    })
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_paths_become_directories() {
        for (path, name) in
            [("", "ROOT"), ("/", "ROOT"), ("shop", "shop"), ("/shop/v2/", "shop#v2"), ("a.b-c_d", "a.b-c_d")]
        {
            assert_eq!(directory(path).unwrap(), name, "{path}");
        }
        for path in ["..", "a/../b", "a//b", "a b", "a#b", ".hidden", "ä"] {
            assert!(directory(path).is_err(), "{path}");
        }
    }
}
