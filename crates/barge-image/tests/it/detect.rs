//! What is found by looking at a project.

use barge_image::detect::{build_path, command};
use barge_image::scan::scan;

use crate::support::tree;

fn check_path(files: &[&str], expected: &str) {
    let project = tree(&files.iter().map(|name| (*name, "")).collect::<Vec<_>>());
    let found = build_path(project.path(), "greeter");
    assert_eq!(found, project.path().join(expected), "{files:?}");
}

#[test]
fn the_built_files_are_where_build_tools_put_them() {
    check_path(&["dist/x", "build/x", "greeter*"], "dist");
    check_path(&["build/x", "out/x"], "build");
    check_path(&["public/index.html"], "public");
    check_path(&["src/main.rs", "target/release/greeter*"], "target/release/greeter");
    check_path(&["pom.xml", "target/greeter.jar"], "target/greeter.jar");
    check_path(&["main.go", "greeter*"], "greeter");
    check_path(&["dist", "server.py"], "");
    check_path(&["greeter/x"], "");
}

fn check_command(files: &[&str], expected: Option<&[&str]>) {
    let project = tree(&files.iter().map(|name| (*name, "")).collect::<Vec<_>>());
    let command = command(&scan(project.path(), &[]).unwrap(), "greeter");
    let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(command, expected, "{files:?}");
}

#[test]
fn what_starts_the_files_is_found_where_there_is_no_doubt() {
    check_command(&["start.sh*", "greeter*", "a.jar"], Some(&["./start.sh"]));
    check_command(&["start.sh", "greeter*"], Some(&["./greeter"]));
    check_command(&["server*", "tool.sh*", "data"], Some(&["./server"]));
    check_command(&["one*", "two*"], None);
    check_command(&["app-1.0.jar", "lib/x.jar", "README"], Some(&["java", "-jar", "app-1.0.jar"]));
    check_command(&["a.jar", "b.jar"], None);
    check_command(&["sub/start.sh*", "sub/greeter*"], None);
    check_command(&["index.html"], None);
}
