//! The script that starts Tomcat, with one that only says what it was started with.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::{Project, text_of};

/// Reads setenv.sh and puts options in order as Tomcat's own does.
const CATALINA: &str = "#!/bin/sh\nif [ -r \"$CATALINA_HOME/bin/setenv.sh\" ]; then . \"$CATALINA_HOME/bin/setenv.sh\"; fi\n\
    echo \"$@\"\necho $LOGGING_MANAGER \"$JAVA_OPTS\" \"$CATALINA_OPTS\"\necho \"$CATALINA_BASE\"\n";

/// Tomcat's own choice, which ours has to repeat.
const MANAGER: &str = "-Djava.util.logging.manager=org.apache.juli.ClassLoaderLogManager";

/// A war's directory below /app, with a Tomcat beside it.
struct Place(Project);

impl Place {
    fn new(class: &str) -> Self {
        let project = Project::new();
        project.archive("a.war", &[("WEB-INF/classes/A.class", class)]);
        let plan = project.plan("a.war");
        for path in ["barge/tomcat.sh", "conf/server.xml", "conf/logging.properties"] {
            project.file(&format!("app/{path}"), text_of(&plan, &format!("app/{path}")).as_bytes());
        }
        Self(project)
    }

    /// Puts a Tomcat there whose servlet API has this class.
    fn tomcat(&self, class: &str) -> PathBuf {
        self.0.file("tomcat/bin/bootstrap.jar", b"").file("tomcat/bin/catalina.sh", CATALINA.as_bytes());
        for file in ["web.xml", "server.xml", "context.xml"] {
            self.0.file(&format!("tomcat/conf/{file}"), b"<theirs/>");
        }
        self.0.archive("tomcat/lib/servlet-api.jar", &[(class, "")]);
        let script = self.0.path().join("tomcat/bin/catalina.sh");
        std::fs::set_permissions(script, Permissions::from_mode(0o755)).unwrap();
        self.0.path().join("tomcat")
    }

    /// Exit code, what it said, and what it warned of.
    fn run(&self, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let mut command = Command::new("/bin/sh");
        command.arg("barge/tomcat.sh").current_dir(self.0.path().join("app"));
        let ours =
            ["CATALINA_HOME", "CATALINA_OPTS", "JAVA_OPTS", "LOGGING_MANAGER", "PORT", "HOST", "TOMCAT_SERVER_XML"];
        for name in ours {
            command.env_remove(name);
        }
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.replace(&self.0.path().canonicalize().unwrap().display().to_string(), "PLACE")
                .replace(&self.0.path().display().to_string(), "PLACE")
        };
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

#[test]
fn it_starts_the_tomcat_that_is_named() {
    let place = Place::new("jakarta/servlet/Servlet");
    let home = place.tomcat("jakarta/servlet/Servlet.class");
    let home = home.to_str().unwrap();
    let variables = [("CATALINA_HOME", home), ("PORT", "8081"), ("HOST", "127.0.0.9"), ("CATALINA_OPTS", "-Xss1m")];
    let (code, out, err) = place.run(&variables);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(out, @r"
    run -config conf/server.xml
    @barge/java.args -Dbarge.port=8081 -Dbarge.host=127.0.0.9 -Djava.util.logging.manager=org.apache.juli.ClassLoaderLogManager  -Xss1m
    PLACE/app
    ");
    let conf = place.0.path().join("app/conf");
    let text = |name: &str| std::fs::read_to_string(conf.join(name)).unwrap();
    assert_eq!(text("web.xml"), "<theirs/>");
    assert!(text("server.xml").contains("barge.port"), "ours stays");
    let (code, out, _) = place.run(&[("CATALINA_HOME", home), ("TOMCAT_SERVER_XML", "/etc/own.xml")]);
    assert_eq!(code, Some(0), "a second start finds its files there");
    assert!(
        out.starts_with("run -config /etc/own.xml\n") && out.contains("-Dbarge.port=8080 -Dbarge.host=0.0.0.0"),
        "{out}"
    );
}

#[test]
fn what_others_say_comes_after_ours_and_does_not_remove_it() {
    let place = Place::new("");
    let home = place.tomcat("a");
    place.0.file("tomcat/bin/setenv.sh", b"CATALINA_OPTS=-Xmx512m\n");
    let options = |variables: &[(&str, &str)]| {
        let (code, out, err) = place.run(&[&[("CATALINA_HOME", home.to_str().unwrap())][..], variables].concat());
        assert_eq!((code, err.as_str()), (Some(0), ""));
        out.lines().nth(1).unwrap().to_owned()
    };
    let ours = "@barge/java.args -Dbarge.port=8080 -Dbarge.host=0.0.0.0";
    let said = [("JAVA_OPTS", "-Dfile.encoding=ISO-8859-1"), ("CATALINA_OPTS", "-Xmx1g")];
    assert_eq!(options(&said), format!("{ours} {MANAGER} -Dfile.encoding=ISO-8859-1 -Xmx512m"));
    assert_eq!(options(&[("LOGGING_MANAGER", "-Dnop")]), format!("{ours} -Dnop  -Xmx512m"));
}

#[test]
fn it_says_where_there_is_no_tomcat() {
    let place = Place::new("");
    let (code, _, err) = place.run(&[("CATALINA_HOME", "/nowhere")]);
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        "barge: CATALINA_HOME is /nowhere, and there is no Tomcat: no bin/bootstrap.jar and bin/catalina.sh\n"
    );
    let home = place.tomcat("a");
    std::fs::remove_dir_all(home.join("conf")).unwrap();
    let (code, _, err) = place.run(&[("CATALINA_HOME", home.to_str().unwrap())]);
    assert_eq!((code, err.as_str()), (Some(1), "barge: the Tomcat in PLACE/tomcat has no conf/web.xml\n"));
}

#[test]
fn it_warns_where_the_servlet_api_is_another_one() {
    let check = |class: &str, tomcat: &str, warning: Option<&str>| {
        let place = Place::new(class);
        let home = place.tomcat(tomcat);
        let (code, _, err) = place.run(&[("CATALINA_HOME", home.to_str().unwrap())]);
        assert_eq!(code, Some(0), "it is only a warning");
        let first = err.lines().next();
        let said = "barge: warning: the application's classes use ";
        assert_eq!(
            first.map(|line| line.starts_with(&format!("{said}{}", warning.unwrap_or_default()))),
            warning.map(|_| true),
            "{err}"
        );
    };
    check("javax/servlet/A", "jakarta/servlet/A.class", Some("javax.servlet, and"));
    check("jakarta/servlet/A", "javax/servlet/A.class", Some("jakarta.servlet, and"));
    check("jakarta/servlet/A", "jakarta/servlet/A.class", None);
    check("javax/servlet/A", "javax/servlet/A.class", None);
    check("neither", "jakarta/servlet/A.class", None);
}
