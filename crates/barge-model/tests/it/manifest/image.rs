//! Names of images, which come with a configuration.

use barge_model::release::{InvalidImage, check_image};

#[test]
fn an_image_is_a_registry_and_a_repository() {
    for image in [
        "127.0.0.1:7401/greeter",
        "localhost/greeter",
        "localhost:5000/a/b/c",
        "[::1]:7401/greeter",
        "[::1]/greeter",
        "Registry.Example/group/my--service",
        "registry.example/a.b/c_d/e__f/0",
        "registry:5000/greeter",
    ] {
        assert_eq!(check_image(image), Ok(()), "{image}");
    }
    let long = format!("registry.example/{}", "a".repeat(256));
    for image in [
        "",
        "/",
        "greeter",
        "library/greeter",
        "registry.example",
        "registry.example/",
        "/greeter",
        "registry.example//greeter",
        "registry.example/greeter/",
        "registry.example/Greeter",
        "registry.example/a..b",
        "registry.example/a___b",
        "registry.example/-a",
        "registry.example/a-",
        "registry.example/gree ter",
        "registry.example/greeter:latest",
        "registry.example/greeter@sha256:1",
        "registry.example/../greeter",
        "registry.example/gr\u{fc}\u{df}e",
        "registry.example/gree\0ter",
        "registry_example.org/greeter",
        "-registry.example/greeter",
        "registry..example/greeter",
        "registry.example:/greeter",
        "registry.example:0/greeter",
        "registry.example:65536/greeter",
        "registry.example:+80/greeter",
        "[::1/greeter",
        "[::g]:7401/greeter",
        "http://registry.example/greeter",
        "user:word@registry.example/greeter",
        &long,
    ] {
        assert_eq!(check_image(image), Err(InvalidImage), "{image:?}");
    }
}
