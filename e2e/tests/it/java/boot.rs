//! The Spring Boot application on the machine's own Java.

use barge_testkit::TestPlatform;

use super::{GREETINGS, answer, at, boot, sent};
use crate::support::{answers, release_first, under_load};

#[test]
fn one_changed_class_is_one_small_layer_and_goes_over_the_gate_under_load() {
    let platform = TestPlatform::start();
    let Some(project) = boot(&platform) else { return };
    let web = project.path("web");
    release_first(&platform, &web);
    assert!(answer(&platform, "boot", "/actuator/health").contains("UP"));
    assert!(answer(&platform, "boot", "/").contains("A page beside the program"));
    assert!(answer(&platform, "boot", "/jvm").contains(r#""shutdown":"graceful""#), "it ends in good order by itself");
    assert_eq!(sent(&platform, &web), 0, "the registry has all of it");

    let plan = at(&platform, "boot", "/greeting");
    under_load(plan.clone(), |phase| {
        assert_eq!(answers(&plan, 4), ["Good day, World, from version one"]);
        project.edit(GREETINGS, "\"one\"", "\"two\"");
        project.package();
        phase("a new version is there");
        let sent = sent(&platform, &web);
        assert!(sent > 0 && sent < 32 * 1024, "{sent} bytes went over the wire for one class");
        platform.barge(&web, &["deploy"]);
        phase("at the gate");
        assert_eq!(answers(&plan, 60).len(), 2, "both versions answer");
        platform.barge(&web, &["approve", "--wait", "complete"]);
        phase("complete");
        assert_eq!(answers(&plan, 4), ["Good day, World, from version two"]);
    });
}

#[test]
fn a_heap_that_is_too_small_is_explained_and_what_the_environment_says_wins() {
    let platform = TestPlatform::start();
    let Some(project) = boot(&platform) else { return };
    let web = project.path("web");
    let manifest =
        |more: &str| std::fs::write(web.join("barge.yaml"), format!("name: boot\nkind: web\n{more}")).unwrap();
    manifest("env: {SERVER_SHUTDOWN: immediate, GREETING_NAME: reader, JAVA_TOOL_OPTIONS: -Xmx200m}\n");
    release_first(&platform, &web);
    assert_eq!(answer(&platform, "boot", "/greeting"), "Good day, Reader, from version one");
    let jvm: serde_json::Value = serde_json::from_str(&answer(&platform, "boot", "/jvm")).unwrap();
    assert_eq!(jvm["shutdown"], "immediate");
    assert!(jvm["heap"].as_u64().unwrap() <= 200 << 20, "{jvm}");

    manifest("build: {jvm: [-Xmx6m]}\n");
    let told = platform.barge_fails(&web, &["deploy"], 3);
    assert!(told.contains("the JVM's heap is too small"), "{told}");
    assert_eq!(answer(&platform, "boot", "/greeting"), "Good day, Reader, from version one", "what served serves on");
}

#[test]
fn several_programs_are_a_question() {
    let platform = TestPlatform::start();
    let Some(project) = boot(&platform) else { return };
    let web = project.path("web");
    std::fs::copy(web.join("target/web-1.0-SNAPSHOT.jar"), web.join("target/web-2.0.jar")).unwrap();
    let told = platform.barge_fails(&web, &["deploy"], 2);
    for name in ["web-1.0-SNAPSHOT.jar", "web-2.0.jar", "hint:"] {
        assert!(told.contains(name), "{told}");
    }
}
