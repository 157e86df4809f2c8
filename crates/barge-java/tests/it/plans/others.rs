//! Wars for Tomcat, and Quarkus.

use std::os::unix::fs::symlink;

use barge_java::Options;

use super::{Project, changed, text_of, told};

const WAR: [(&str, &str); 9] = [
    ("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n"),
    ("META-INF/context.xml", ""),
    ("index.jsp", ""),
    ("css/shop.css", ""),
    ("WEB-INF/web.xml", ""),
    ("WEB-INF/classes/example/Shop.class", "\u{ca}...jakarta/servlet/http/HttpServlet..."),
    ("WEB-INF/classes/messages.properties", ""),
    ("WEB-INF/lib/b-1.jar", ""),
    ("WEB-INF/lib/a-1-SNAPSHOT.jar", ""),
];

#[test]
fn a_war_is_for_tomcat() {
    let project = Project::new();
    project.archive("target/shop.war", &WAR);
    let plan = project.plan("target/shop.war");
    assert!(plan.needs_tomcat);
    insta::assert_snapshot!(told(&plan));
    assert!(text_of(&plan, "app/barge/tomcat.sh").contains("\nwanted=jakarta\n"));
    assert!(text_of(&plan, "app/conf/server.xml").contains("gracefulStopAwaitMillis=\"8000\""));
}

#[test]
fn a_war_is_served_where_the_project_says() {
    let project = Project::new();
    project.archive("target/shop.war", &WAR);
    let at = |path: &str| {
        let options = Options { context_path: path.to_owned(), ..Options::default() };
        project.plan_with("target/shop.war", &options)
    };
    assert_eq!(at("/shop/v2").unwrap().class_path[0], "webapps/shop#v2/WEB-INF/classes");
    assert!(at("../x").unwrap_err().to_string().contains("context_path"));
}

#[test]
fn the_servlet_api_is_that_of_the_classes() {
    for (class, wanted) in
        [("javax/servlet/A", "javax"), ("jakarta/servlet/A javax/servlet/B", "unknown"), ("x", "unknown")]
    {
        let project = Project::new();
        project.archive("a.war", &[("WEB-INF/classes/A.class", class)]);
        let script = text_of(&project.plan("a.war"), "app/barge/tomcat.sh");
        assert!(script.contains(&format!("\nwanted={wanted}\n")), "{class}");
    }
}

#[test]
fn a_changed_class_of_a_war_changes_one_layer() {
    let project = Project::new();
    let mut other = WAR;
    other[5].1 = "other jakarta/servlet/";
    project.archive("one/shop.war", &WAR).archive("two/shop.war", &other);
    assert_eq!(changed(&project.plan("one/shop.war"), &project.plan("two/shop.war")), ["classes"]);
}

fn quarkus(class: &str) -> Project {
    let project = Project::new();
    let root = "target/quarkus-app";
    project.archive(&format!("{root}/app/shop-1.jar"), &[("A.class", class), ("application.properties", "a=b\n")]);
    for file in [
        "quarkus-run.jar",
        "quarkus/generated-bytecode.jar",
        "quarkus/quarkus-application.dat",
        "lib/main/a-1.jar",
        "lib/main/b-1-SNAPSHOT.jar",
        "lib/boot/c-1.jar",
        "quarkus-app-dependencies.txt",
    ] {
        project.file(&format!("{root}/{file}"), file.as_bytes());
    }
    project
}

#[test]
fn quarkus_stays_as_it_is() {
    let (project, changing) = (quarkus("class"), quarkus("other"));
    let plan = project.plan("target/quarkus-app");
    insta::assert_snapshot!(told(&plan));
    insta::assert_snapshot!(text_of(&plan, "app/config/application.properties"), @r"
    quarkus.http.host=${HOST:0.0.0.0}
    quarkus.http.port=${PORT:8080}
    quarkus.shutdown.timeout=PT8.000S
    ");
    assert!(text_of(&plan, "app/barge/java.args").ends_with("-jar\nquarkus-run.jar\n"));
    assert_eq!(changed(&plan, &changing.plan("target/quarkus-app")), ["classes"]);
}

#[test]
fn what_quarkus_says_of_its_own_stop_holds() {
    let project = quarkus("class");
    let said = [("application.properties", " quarkus.shutdown.timeout=3\n")];
    project.archive("target/quarkus-app/app/shop-1.jar", &said);
    let plan = project.plan("target/quarkus-app");
    assert!(!text_of(&plan, "app/config/application.properties").contains("shutdown"));
}

#[test]
fn links_in_quarkus_directories_stay_links_and_lead_nowhere_else() {
    let project = quarkus("class");
    let at = |path: &str| project.path().join("target/quarkus-app").join(path);
    symlink("a-1.jar", at("lib/main/linked-1.jar")).unwrap();
    let plan = project.plan("target/quarkus-app");
    assert!(told(&plan).contains("app/lib/main/linked-1.jar -> a-1.jar\n"), "{}", told(&plan));
    assert!(plan.class_path.contains(&"lib/main/linked-1.jar".to_owned()));
    project.file("secret.jar", b"");
    symlink("../../../../secret.jar", at("lib/main/other-1.jar")).unwrap();
    let error = project.error("target/quarkus-app");
    assert!(error.contains("other-1.jar is a link to ../../../../secret.jar, which lies outside"), "{error}");
}

#[test]
fn options_of_the_jvm_are_options() {
    let project = Project::new();
    project.archive("a.jar", &[("META-INF/MANIFEST.MF", "Main-Class: a.B\n")]);
    for option in ["Xmx1g", "", "-Da=b\n-Dc=d"] {
        let options = Options { jvm: vec![option.to_owned()], ..Options::default() };
        let error = project.plan_with("a.jar", &options).unwrap_err();
        assert!(error.to_string().contains("no option of the JVM"), "{error}");
    }
}
