//! Names of images.

use barge_image::Reference;

fn check(text: &str, expected: Option<(&str, &str, &str)>) {
    let reference = text.parse::<Reference>().ok();
    let parts = reference.as_ref().map(|r| (r.host.as_str(), r.repository.as_str(), r.version.as_str()));
    assert_eq!(parts, expected, "{text}");
}

#[test]
fn references_name_registry_repository_and_version() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    check("registry.example/app", Some(("registry.example", "app", "latest")));
    check("registry.example/group/app:1.0", Some(("registry.example", "group/app", "1.0")));
    check("localhost/app:x", Some(("localhost", "app", "x")));
    check("127.0.0.1:5000/a/b/c:x_y", Some(("127.0.0.1:5000", "a/b/c", "x_y")));
    check(&format!("registry.example/app@{digest}"), Some(("registry.example", "app", &digest)));
    check(&format!("registry.example/app:1@{digest}"), Some(("registry.example", "app", &digest)));
    let bad = ["", "app", "app:1", "group/app", "registry.example/", "registry.example/App", "registry.example/a/../b"];
    for text in bad {
        check(text, None);
    }
    for text in
        ["registry.example/app@sha256:12", "registry.example/app@latest", "registry.example/app:", "a.b/app:1 2"]
    {
        check(text, None);
    }
}

#[test]
fn a_registry_on_this_machine_is_known_by_its_address() {
    for (host, loopback) in [
        ("localhost", true),
        ("localhost:5000", true),
        ("LocalHost:5000", true),
        ("127.0.0.1:5000", true),
        ("127.9.9.9", true),
        ("[::1]:5000", true),
        ("[::1]", true),
        ("10.0.0.1:5000", false),
        ("localhost.example", false),
        ("127.0.0.1.example:80", false),
    ] {
        assert_eq!(format!("{host}/app").parse::<Reference>().unwrap().is_loopback(), loopback, "{host}");
    }
}
