//! Applications that nobody here wrote, released as they are: under load, over a gate and back, without a lost request.

use std::path::{Path, PathBuf};
use std::process::Command;

use barge_load::LoadPlan;
use barge_testkit::{TestPlatform, tool};

use crate::support::{answers, load_plan, release_first, under_load};

/// The version that is fetched from Maven Central.
const WIREMOCK: &str = "org.wiremock:wiremock-standalone:3.13.1";

/// A release, a gate, an approval and a rollback under load; `second` changes the project's files.
fn goes_over_its_gate_and_back(
    platform: &TestPlatform,
    project: &Path,
    plan: &LoadPlan,
    second: impl FnOnce(),
    expected: [&str; 2],
) {
    release_first(platform, project);
    under_load(plan.clone(), |phase| {
        assert_eq!(answers(plan, 4), [expected[0]]);
        second();
        platform.barge(project, &["deploy"]);
        phase("at the gate");
        assert_eq!(answers(plan, 60).len(), 2, "both versions answer");
        platform.barge(project, &["approve", "--wait", "complete"]);
        phase("complete");
        assert_eq!(answers(plan, 4), [expected[1]]);
        platform.barge(project, &["rollback", "--wait", "complete"]);
        phase("back");
        assert_eq!(answers(plan, 4), [expected[0]]);
    });
}

fn at_most_eight_lines(manifest: &str) {
    assert!(manifest.lines().count() <= 8, "an application must not need more than this");
}

#[test]
fn nginx_with_a_configuration_template() {
    if tool("nginx").is_none() {
        return;
    }
    let platform = TestPlatform::start();
    let project = platform.project("pages");
    let manifest = "name: pages\nkind: web\ncommand: nginx -p . -c nginx.conf\ntemplates: [nginx.conf.template]\n\
                    healthcheck: /index.html\nreplicas: 3\n";
    at_most_eight_lines(manifest);
    let configuration = "daemon off;\nuser root;\npid nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\n  access_log off;\n  \
                         client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; \
                         scgi_temp_path tmp;\n  server { listen ${HOST}:${PORT}; root html; }\n}\n";
    let page = |text: &str| std::fs::write(project.join("html/index.html"), text).unwrap();
    std::fs::create_dir(project.join("html")).unwrap();
    std::fs::write(project.join("barge.yaml"), manifest).unwrap();
    std::fs::write(project.join("nginx.conf.template"), configuration).unwrap();
    page("the first page");
    let plan = load_plan(&platform, "pages");
    goes_over_its_gate_and_back(
        &platform,
        &project,
        &plan,
        || page("the second page"),
        ["the first page", "the second page"],
    );
}

#[test]
fn wiremock_on_the_machines_own_java() {
    let (Some(_), Some(maven)) = (tool("java"), tool("mvn")) else { return };
    let jar = wiremock(&maven);
    let platform = TestPlatform::start();
    let project = platform.project("stubs");
    let manifest = "name: stubs\nkind: web\ncommand: java -jar wiremock.jar --bind-address $HOST --port $PORT\n\
                    healthcheck: /__admin/health\nreplicas: 2\n";
    at_most_eight_lines(manifest);
    let stub = |text: &str| {
        let mapping = serde_json::json!({
            "request": { "method": "GET", "url": "/hello" },
            "response": { "status": 200, "body": text },
        });
        std::fs::write(project.join("mappings/hello.json"), mapping.to_string()).unwrap();
    };
    std::fs::create_dir(project.join("mappings")).unwrap();
    std::fs::write(project.join("barge.yaml"), manifest).unwrap();
    std::fs::copy(jar, project.join("wiremock.jar")).unwrap();
    stub("the first stub");
    let plan = LoadPlan { path: "/hello".to_owned(), ..load_plan(&platform, "stubs") };
    goes_over_its_gate_and_back(
        &platform,
        &project,
        &plan,
        || stub("the second stub"),
        ["the first stub", "the second stub"],
    );
}

/// Fetches WireMock into Maven's own repository, once for each machine.
fn wiremock(maven: &Path) -> PathBuf {
    let home = std::env::var("HOME").unwrap();
    let version = WIREMOCK.rsplit(':').next().unwrap();
    let jar = Path::new(&home)
        .join(format!(".m2/repository/org/wiremock/wiremock-standalone/{version}/wiremock-standalone-{version}.jar"));
    if !jar.is_file() {
        let fetched = Command::new(maven)
            .args(["-q", "-B", "dependency:get", "-Dtransitive=false", &format!("-Dartifact={WIREMOCK}")])
            .status()
            .unwrap();
        assert!(fetched.success(), "WireMock cannot be fetched");
    }
    jar
}
