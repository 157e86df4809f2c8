//! Base images of Debian's packages, made by umoci: a Java runtime, and Tomcat on top of it. Nothing of Barge has a hand in them, as in
//! the bases that people have.

use std::path::{Path, PathBuf};
use std::process::Command;

use barge_testkit::tool;

use crate::made::{once, run};

/// What the Java runtime is made of, besides what these depend on.
const JAVA: [&str; 3] = ["openjdk-17-jre-headless", "dash", "ca-certificates"];
/// And Tomcat. `coreutils` and `sed` are what its scripts call.
const TOMCAT: [&str; 4] = ["tomcat10-common", "coreutils", "grep", "sed"];
/// Taken as it is, for its configuration alone: it depends on systemd.
const CONFIGURATION: &str = "tomcat10";
/// Nobody reads there.
const LEFT_OUT: [&str; 4] = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian"];
/// As Debian's packages write them when they are set up, which they are not here.
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

/// Base images as OCI layouts.
#[derive(Debug, Clone)]
pub struct Bases {
    /// With a Java runtime.
    pub java: PathBuf,
    /// With Tomcat 10 as well, in /usr/share/tomcat10.
    pub tomcat: PathBuf,
}

impl Bases {
    /// None, said aloud, where the tools are missing that make them. They are made once for each machine.
    pub fn new() -> Option<Self> {
        for needed in ["apt-get", "dpkg-deb", "skopeo", "umoci"] {
            tool(needed)?;
        }
        let of = [JAVA.as_slice(), &TOMCAT, &[CONFIGURATION], &LEFT_OUT, &[USERS, "1"]].concat().join(" ");
        let made = once("bases", &of, make);
        Some(Self { java: made.join("java"), tomcat: made.join("tomcat") })
    }
}

/// Makes both; they have the layer of the first one in common.
fn make(place: &Path) {
    let (java, tomcat) = (place.join("java"), place.join("tomcat"));
    let first = fetch(&place.join("work/first"), &JAVA);
    let root = place.join("work/root");
    unpack(&first, &root);
    set_up(&root);
    run(Command::new("umoci").args(["init", "--layout"]).arg(&java));
    let image = format!("{}:latest", java.display());
    run(Command::new("umoci").args(["new", "--image", &image]));
    insert(&image, &root);
    let environment = ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"];
    let environment = environment.iter().flat_map(|variable| ["--config.env", variable]);
    run(Command::new("umoci").args(["config", "--image", &image]).args(environment));

    let second = place.join("work/second");
    let mut more = fetch(&second, &[TOMCAT.as_slice(), &JAVA].concat());
    more.retain(|package| !first.iter().any(|known| known.file_name() == package.file_name()));
    run(Command::new("apt-get").args(["-qq", "download", CONFIGURATION]).current_dir(&second));
    more.extend(packages(&second));
    let root = place.join("work/root-of-tomcat");
    unpack(&more, &root);
    std::os::unix::fs::symlink("etc", root.join("usr/share/tomcat10/conf")).unwrap();
    let image_of_tomcat = format!("{}:latest", tomcat.display());
    run(Command::new("skopeo").args(["copy", "-q", &format!("oci:{image}"), &format!("oci:{image_of_tomcat}")]));
    insert(&image_of_tomcat, &root);
    let home = "CATALINA_HOME=/usr/share/tomcat10";
    run(Command::new("umoci").args(["config", "--image", &image_of_tomcat, "--config.env", home]));
    std::fs::remove_dir_all(place.join("work")).unwrap();
}

/// Fetches packages and all that they depend on, whatever this machine has installed.
fn fetch(place: &Path, wanted: &[&str]) -> Vec<PathBuf> {
    let archives = place.join("archives");
    std::fs::create_dir_all(archives.join("partial")).unwrap();
    std::fs::write(place.join("status"), "").unwrap();
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-y", "--no-install-recommends", "--download-only", "-o", "Debug::NoLocking=1"])
            .args(["-o", "APT::Sandbox::User=", "-o", &format!("Dir::State::status={}/status", place.display())])
            .args(["-o", &format!("Dir::Cache::archives={}", archives.display()), "install"])
            .args(wanted);
        apt
    };
    // Where apt knows of no packages yet, or of ones that are gone.
    if !install().output().unwrap().status.success() {
        run(Command::new("apt-get").args(["-qq", "update"]));
        run(&mut install());
    }
    packages(&archives)
}

fn packages(directory: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut packages: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "deb")).collect();
    packages.sort();
    packages
}

fn unpack(packages: &[PathBuf], root: &Path) {
    std::fs::create_dir_all(root).unwrap();
    for package in packages {
        run(Command::new("dpkg-deb").arg("-x").args([package, root]));
    }
    for left_out in LEFT_OUT {
        let _ = std::fs::remove_dir_all(root.join(left_out));
    }
}

/// Does what the packages do when they are installed, as far as somebody needs it here.
fn set_up(root: &Path) {
    let runtimes = std::fs::read_dir(root.join("usr/lib/jvm")).unwrap().map(|entry| entry.unwrap().path());
    let runtime = runtimes.filter(|path| path.join("bin/java").is_file()).min().unwrap();
    let inside = Path::new("..").join(runtime.strip_prefix(root.join("usr")).unwrap()).join("bin/java");
    std::os::unix::fs::symlink(inside, root.join("usr/bin/java")).unwrap();
    std::fs::write(root.join("etc/passwd"), USERS).unwrap();
    std::fs::create_dir_all(root.join("tmp")).unwrap();
    run(Command::new("chmod").arg("1777").arg(root.join("tmp")));
}

/// Adds a layer.
fn insert(image: &str, root: &Path) {
    // Files have other owners where somebody else than root unpacks them.
    let rootless = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(root).unwrap()) != 0;
    let mut umoci = Command::new("umoci");
    umoci.args(["insert", "--image", image]).args(rootless.then_some("--rootless"));
    run(umoci.arg(root).arg("/"));
}
