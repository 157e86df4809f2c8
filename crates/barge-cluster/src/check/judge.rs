//! What the cluster's answers mean. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::Value;

use super::observe::{Asked, Metrics, Needed, Observed, Purpose};
use super::{Finding, State};
use crate::available::{missing_of, short};
use crate::objects::VERSION_LABEL;
use crate::settings::Component;
use crate::{NAMESPACE, VERSION};

/// The oldest Kubernetes whose API server can check our definitions' rules, as (major, minor).
const OLDEST: (u32, u32) = (1, 30);
const INSTALL: &str = "barge cluster install";
/// What a leader says of itself beside its lease; empty where all is well.
const HEALTH: &str = "barge.dev/health";

/// All findings, in the order in which people would look.
pub fn judge(observed: &Observed) -> Vec<Finding> {
    let mut findings = vec![version(observed)];
    findings.extend(definitions(observed));
    findings.extend([allowed(observed, Purpose::Install), allowed(observed, Purpose::Release)]);
    findings.extend(Component::ALL.map(|component| part(component, observed)));
    findings.extend(Component::ALL.into_iter().filter_map(|component| lease(component, observed)));
    findings.extend(nodes(observed));
    findings.push(metrics(&observed.metrics));
    findings
}

fn finding(what: impl Into<String>, state: State, detail: impl Into<String>) -> Finding {
    Finding { what: what.into(), state, detail: detail.into(), hint: None }
}

impl Finding {
    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

fn unknown(what: impl Into<String>, why: &str) -> Finding {
    finding(what, State::Unknown, format!("it cannot be asked: {}", short(why)))
}

fn version(observed: &Observed) -> Finding {
    let what = "Kubernetes";
    let info = match &observed.version {
        Ok(info) => info,
        Err(why) => return finding(what, State::Missing, short(why)).hint("kubectl cluster-info"),
    };
    // Some providers write "34+".
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().ok();
    match number(&info.major).zip(number(&info.minor)) {
        None => finding(what, State::Unknown, format!("it says {:?}", info.git_version)),
        Some(found) if found < OLDEST => {
            let detail = format!("{}; its API server has to be {}.{} or newer", info.git_version, OLDEST.0, OLDEST.1);
            finding(what, State::Old, detail).hint("update the cluster first")
        }
        Some(_) => finding(what, State::Good, info.git_version.clone()),
    }
}

fn definitions(observed: &Observed) -> Vec<Finding> {
    let judge = |wanted: CustomResourceDefinition| {
        let name = wanted.name_any();
        let what = format!("definition {name}");
        let found = match &observed.definitions {
            Ok(found) => found.iter().find(|found| found.name_any() == name),
            Err(why) => return unknown(what, why),
        };
        let Some(found) = found else { return finding(what, State::Missing, "it is not there").hint(INSTALL) };
        let conditions = found.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        if !conditions.iter().any(|one| one.type_ == "Established" && one.status == "True") {
            return finding(what, State::Missing, "it is not established").hint(format!("kubectl describe crd {name}"));
        }
        let spec = |definition: &CustomResourceDefinition| serde_json::to_value(&definition.spec).unwrap_or_default();
        if !holds(&spec(found), &spec(&wanted)) {
            let of = found.labels().get(VERSION_LABEL).map_or("another version", String::as_str);
            return finding(
                what,
                State::Old,
                format!("it is of {of}, and says something else than this program's ({VERSION})"),
            )
            .hint(INSTALL);
        }
        finding(what, State::Good, "established")
    };
    barge_crds::definitions().map(judge).into()
}

/// Whether everything that is wanted is there; the API server adds what it takes for granted.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| holds(found.get(name).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
        }
        // 0 and 0.0 are the same to it.
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (found, wanted) => found == wanted,
    }
}

fn allowed(observed: &Observed, purpose: Purpose) -> Finding {
    let what = match purpose {
        Purpose::Install => "you may install",
        Purpose::Release => "you may release",
    };
    let asked = observed.allowed.iter().filter(|(needed, _)| needed.purpose == purpose);
    let (mut refused, mut silent) = (Vec::new(), None);
    for (needed, answer) in asked {
        match answer {
            Ok(true) => {}
            Ok(false) => refused.push(words(needed)),
            Err(why) => silent = Some(why),
        }
    }
    match (refused.as_slice(), silent, purpose) {
        ([], None, _) => finding(what, State::Good, "everything that is needed is allowed"),
        ([], Some(why), _) => unknown(what, why),
        // Who releases need not be who installs.
        (refused, _, Purpose::Install) => finding(what, State::Without, format!("not allowed: {}", refused.join(", ")))
            .hint("somebody with the role cluster-admin installs and upgrades"),
        (refused, _, Purpose::Release) => finding(what, State::Without, format!("not allowed: {}", refused.join(", ")))
            .hint(
                "kubectl create clusterrole barge-release --verb=get,list,watch,create,patch,delete \
             --resource=webservices.barge.dev,rpcservices.barge.dev, and bind it to whoever releases",
            ),
    }
}

fn words(needed: &Needed) -> String {
    let group = if needed.group.is_empty() { String::new() } else { format!(".{}", needed.group) };
    let place = needed.namespace.map(|namespace| format!(" in {namespace}")).unwrap_or_default();
    format!("{} {}{group}{place}", needed.verb, needed.resource)
}

fn part(component: Component, observed: &Observed) -> Finding {
    let name = component.name();
    let deployments = match &observed.deployments {
        Ok(deployments) => deployments,
        Err(why) => return unknown(name, why),
    };
    let pods = observed.pods.as_deref().unwrap_or_default();
    let Some(found) = deployments.iter().find(|deployment| deployment.name_any() == name) else {
        return finding(name, State::Missing, format!("there is no such Deployment in {NAMESPACE}")).hint(INSTALL);
    };
    let missing = missing_of(component, deployments, pods);
    if !missing.is_empty() {
        let lines: Vec<&str> = missing.iter().map(|line| line.trim()).collect();
        let detail = lines.join("; ").replacen(&format!("{name}: "), "", 1);
        return finding(name, State::Missing, detail)
            .hint(format!("kubectl -n {NAMESPACE} describe deployment {name}"));
    }
    match found.labels().get(VERSION_LABEL) {
        Some(version) if version == VERSION => finding(name, State::Good, format!("available, {version}")),
        Some(version) => {
            finding(name, State::Old, format!("it is of {version}, and this program of {VERSION}")).hint(INSTALL)
        }
        None => finding(name, State::Unknown, "available; it does not say of which version it is"),
    }
}

fn lease(component: Component, observed: &Observed) -> Option<Finding> {
    let name = component.lease()?;
    let what = format!("leader of {name}");
    let leases = match &observed.leases {
        Ok(leases) => leases,
        Err(why) => return Some(unknown(what, why)),
    };
    let look = format!("kubectl -n {NAMESPACE} logs deployment/{name}");
    let Some(lease) = leases.iter().find(|lease| lease.name_any() == name) else {
        return Some(finding(what, State::Missing, "nobody has ever held the lease").hint(look));
    };
    let Some((holder, age, limit)) = held(lease, observed.now) else {
        return Some(finding(what, State::Missing, "nobody holds the lease").hint(look));
    };
    let ago = age.as_secs();
    if age > limit {
        return Some(finding(what, State::Missing, format!("{holder} was heard of last {ago} s ago")).hint(look));
    }
    match lease.annotations().get(HEALTH).filter(|health| !health.is_empty()) {
        Some(health) => Some(finding(what, State::Missing, format!("{holder} says: {}", short(health))).hint(look)),
        None => Some(finding(what, State::Good, format!("{holder}, heard of {ago} s ago"))),
    }
}

/// By whom, how old the last word of him is, and how old it may be.
fn held(lease: &Lease, now: Timestamp) -> Option<(String, SignedDuration, SignedDuration)> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    let renewed = spec.renew_time.as_ref()?.0;
    let limit = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or(15)));
    Some((holder, now.duration_since(renewed).max(SignedDuration::ZERO), limit))
}

fn nodes(observed: &Observed) -> Vec<Finding> {
    let nodes = match &observed.nodes {
        Ok(nodes) => nodes,
        Err(why) => return vec![unknown("nodes", why), unknown("nodes pull images", why)],
    };
    let is_ready = |node: &&Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    };
    let (ready, unready): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(is_ready);
    let names = |nodes: &[&Node]| nodes.iter().map(|node| node.name_any()).collect::<Vec<_>>().join(", ");
    let of_nodes = match (ready.as_slice(), unready.as_slice()) {
        ([], _) => finding("nodes", State::Missing, "none is ready").hint("kubectl get nodes"),
        (ready, []) => finding("nodes", State::Good, format!("{} ready", ready.len())),
        (ready, unready) => {
            let detail = format!("{} ready; not {}", ready.len(), names(unready));
            finding("nodes", State::Without, detail).hint("kubectl get nodes")
        }
    };
    vec![of_nodes, pulls(&ready, &observed.pods)]
}

/// Whether nodes get our images: told by the pods that are on them, and unknown of a node that has none.
fn pulls(nodes: &[&Node], pods: &Asked<Vec<Pod>>) -> Finding {
    let what = "nodes pull images";
    let pods = match pods {
        Ok(pods) => pods,
        Err(why) => return unknown(what, why),
    };
    let mut seen: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    for pod in pods {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else { continue };
        match pulled(pod) {
            Some(Err(why)) => drop(seen.insert(node, Err(why))),
            Some(Ok(())) => drop(seen.entry(node).or_insert(Ok(()))),
            None => {}
        }
    }
    let failed: Vec<String> =
        seen.iter().filter_map(|(node, pulled)| Some(format!("{node}: {}", pulled.as_ref().err()?))).collect();
    let silent: Vec<String> =
        nodes.iter().map(|node| node.name_any()).filter(|name| !seen.contains_key(name)).collect();
    match (failed.as_slice(), silent.as_slice()) {
        ([], []) => finding(what, State::Good, format!("all {} have", nodes.len())),
        ([], silent) => {
            let detail = format!("no pod of ours has been on {}, so that nobody knows of those", silent.join(", "));
            finding(what, State::Unknown, detail)
        }
        (failed, _) => finding(what, State::Missing, failed.join("; ")).hint(
            "the registry has to be reachable from nodes; one that asks for a password needs `--pull-secret NAME`",
        ),
    }
}

fn pulled(pod: &Pod) -> Option<Result<(), String>> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    if ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"].contains(&reason) {
        let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or(reason);
        return Some(Err(short(message)));
    }
    (!container.image_id.is_empty()).then_some(Ok(()))
}

fn metrics(metrics: &Metrics) -> Finding {
    let what = "metrics for autoscaling";
    let hint = "install metrics-server, where services are to be scaled by their load";
    match metrics {
        Metrics::There => finding(what, State::Good, "pods are measured"),
        Metrics::Missing => finding(what, State::Without, "the cluster does not measure pods").hint(hint),
        Metrics::Silent(why) => finding(what, State::Without, short(why)).hint(hint),
    }
}
