//! `barge build --explain`: what an image will be, and why, before anything is built.

use barge_image::plan::PlannedLayer;
use barge_java::options::Place;
use serde::Serialize;

use super::base::By;
use super::{ImagePlan, Needs, below};
use crate::failure::Failure;
use crate::project::Project;
use crate::table::Table;
use crate::terminal::{Paint, Style, Terminal, bytes};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Explanation {
    kind: String,
    why: String,
    /// The file or directory that it is made of, as seen from barge.yaml.
    from: String,
    /// As named; it is not fetched.
    base: String,
    /// Who has chosen it, where that is not barge.yaml.
    base_of: Option<&'static str>,
    /// What has to be in the base.
    needs: Option<&'static str>,
    /// Lowest first, without the base's.
    layers: Vec<Layer>,
    command: Vec<String>,
    class_path: Vec<String>,
    jvm: Vec<Said>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    files: usize,
    /// In bytes, before it is compressed.
    size: u64,
    why: String,
}

/// An option of the JVM.
#[derive(Debug, Serialize)]
struct Said {
    option: String,
    why: String,
    /// Whether variables such as JAVA_TOOL_OPTIONS win over it.
    default: bool,
}

impl Explanation {
    fn of(plan: ImagePlan, project: &Project) -> Self {
        let from = below(&plan.from, &project.directory).display().to_string();
        let layer = |layer: &PlannedLayer| {
            let (files, size) = layer.extent();
            Layer { name: layer.name.to_string(), files, size, why: layer.why.to_string() }
        };
        let options = plan.options.into_iter();
        Self {
            kind: plan.kind,
            why: plan.why,
            from: if from.is_empty() { ".".to_owned() } else { from },
            base_of: match plan.base.by {
                By::Project => None,
                By::Environment => Some("the environment's choice"),
                By::Nobody => Some("nobody has chosen one"),
            },
            base: plan.base.name,
            needs: match plan.needs {
                Needs::Nothing => None,
                Needs::Java => Some("Java 9 or later"),
                Needs::Tomcat => Some("Tomcat, and Java 9 or later"),
            },
            layers: plan.layers.iter().map(layer).collect(),
            command: plan.command.0,
            class_path: plan.class_path,
            jvm: options
                .map(|one| Said { option: one.option, why: one.why, default: one.place == Place::Flags })
                .collect(),
            notes: plan.notes,
            warnings: plan.warnings,
        }
    }

    fn text(&self, paint: Paint) -> String {
        let mut text = format!("{} is {}: {}\n", paint.paint(Style::Bold, &self.from), self.kind, self.why);
        let mut facts = Table::bare();
        let needs = self.needs.map(|needs| format!("    has to have {needs}")).unwrap_or_default();
        let of = self.base_of.map(|of| format!(" ({of})")).unwrap_or_default();
        facts.row(["base".into(), format!("{}{of}{needs}", self.base).into()]);
        let command = self.command.join(" ");
        facts.row(["command".into(), format!("{command}    in /app").into()]);
        text.push_str(&format!("\n{}", facts.render(paint, "")));
        let mut layers = Table::new(&["LAYER", "FILES", "SIZE", "WHY"]);
        for layer in &self.layers {
            let numbers = [layer.files.to_string(), bytes(layer.size)];
            layers.row([
                layer.name.clone().into(),
                numbers[0].clone().into(),
                numbers[1].clone().into(),
                layer.why.clone().into(),
            ]);
        }
        text.push_str(&format!("\n{}", layers.render(paint, "")));
        if !self.class_path.is_empty() {
            let paths: String = self.class_path.iter().map(|path| format!("  {path}\n")).collect();
            text.push_str(&format!("\nclass path, in this order\n{paths}"));
        }
        if !self.jvm.is_empty() {
            let mut options = Table::bare();
            for said in &self.jvm {
                options.row([said.option.clone().into(), said.why.clone().into()]);
            }
            text.push_str(&format!("\noptions of the JVM\n{}", options.render(paint, "  ")));
        }
        for (label, lines) in [("note", &self.notes), ("warning", &self.warnings)] {
            for line in lines {
                text.push_str(&format!("\n{label}: {line}\n"));
            }
        }
        text.trim_end().to_owned()
    }
}

/// Shows a plan.
pub(crate) fn show(plan: ImagePlan, project: &Project, terminal: &Terminal) -> Result<(), Failure> {
    let explanation = Explanation::of(plan, project);
    terminal.data(&explanation, |paint| explanation.text(paint))
}
