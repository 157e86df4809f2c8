//! A Spring Boot war that starts itself, as Spring Boot's plugin makes it: libraries that a servlet container would bring lie apart from the
//! others, and pages lie beside the classes.

use barge_testkit::TestPlatform;
use barge_world::JavaProject;

use super::answer;
use crate::support::release_first;

#[test]
fn a_war_that_starts_itself_serves_with_what_is_only_provided() {
    let platform = TestPlatform::start();
    let Some(project) = JavaProject::copy("java-boot-war", &platform.project("till")) else { return };
    let till = project.path("");

    let explained = platform.barge_json(&till, &["build", "--explain"]);
    assert_eq!(explained["kind"], "Spring Boot 3.5.7 war", "{explained}");
    let class_path: Vec<&str> =
        explained["class_path"].as_array().unwrap().iter().filter_map(|path| path.as_str()).collect();
    assert_eq!((class_path[0], class_path[class_path.len() - 1]), ("war/WEB-INF/classes", "barge/spring"));
    for library in ["war/WEB-INF/lib/spring-boot-3.5.7.jar", "war/WEB-INF/lib-provided/tomcat-embed-core-"] {
        assert!(class_path.iter().any(|path| path.starts_with(library)), "{library}: {class_path:?}");
    }

    release_first(&platform, &till);
    let receipt: serde_json::Value = serde_json::from_str(&answer(&platform, "till", "/receipt")).unwrap();
    assert_eq!(receipt, serde_json::json!({ "total": 12, "shutdown": "graceful" }));
    assert!(answer(&platform, "till", "/help/index.html").contains("How to use the till"), "a page of src/main/webapp");
}
