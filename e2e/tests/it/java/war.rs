//! The war on the machine's own Tomcat.

use barge_testkit::{TestPlatform, tool};

use super::{ORDERS, answer, at, sent, war};
use crate::support::{answers, release_first, under_load};

/// What Debian's package of Tomcat 10 brings.
const TOMCAT: &str = "/usr/share/tomcat10/bin/bootstrap.jar";

#[test]
fn a_war_goes_over_its_gate_under_load() {
    if tool(TOMCAT).is_none() {
        return;
    }
    let platform = TestPlatform::start();
    let Some(project) = war(&platform) else { return };
    let shop = project.path("");
    release_first(&platform, &shop);
    assert!(answer(&platform, "shop", "/").contains("The first page of the shop"));
    let plan = at(&platform, "shop", "/orders");
    under_load(plan.clone(), |phase| {
        let [first] = answers(&plan, 4).try_into().unwrap();
        assert!(first.contains(r#""shop":"Corner Shop","version":"one""#), "{first}");
        project.edit(ORDERS, "\"one\"", "\"two\"");
        project.package();
        phase("a new version is there");
        let sent = sent(&platform, &shop);
        assert!(sent > 0 && sent < 32 * 1024, "{sent} bytes went over the wire for one class");
        platform.barge(&shop, &["deploy"]);
        phase("at the gate");
        assert_eq!(answers(&plan, 60).len(), 2, "both versions answer");
        platform.barge(&shop, &["approve", "--wait", "complete"]);
        phase("complete");
        let [second] = answers(&plan, 4).try_into().unwrap();
        assert!(second.contains(r#""version":"two""#), "{second}");
    });
}

#[test]
fn a_war_is_served_below_a_path_where_the_manifest_says_so() {
    if tool(TOMCAT).is_none() {
        return;
    }
    let platform = TestPlatform::start();
    let Some(project) = war(&platform) else { return };
    let shop = project.path("");
    let manifest = "name: shop\nkind: web\nbuild: {context_path: /corner/shop}\nenv: {JAVA_TOOL_OPTIONS: -Xmx150m}\n";
    std::fs::write(shop.join("barge.yaml"), manifest).unwrap();
    release_first(&platform, &shop);
    let told: serde_json::Value = serde_json::from_str(&answer(&platform, "shop", "/corner/shop/orders")).unwrap();
    assert!(told["heap"].as_u64().unwrap() <= 150 << 20, "{told}");
}
