//! What callers know the pods by: their labels, the port of the service, and names of ports.

use std::collections::{BTreeMap, BTreeSet};

use barge_crds::spec::PodsSpec;
use k8s_openapi::api::core::v1::{Container, Probe, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::{Refusal, Source};

/// Where barge-init answers whether an instance is ready.
const READY_PORT: u16 = 7070;
/// Names of ports that Barge gives.
const OWN_NAMES: [&str; 2] = ["service", "ready"];

/// The Services that send to the Deployment's pods.
pub(crate) fn callers(source: &Source) -> Vec<&Service> {
    let labels = source.labels();
    let sends = |service: &&Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| {
            !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
        })
    };
    source.services.iter().filter(sends).collect()
}

/// The names of those.
pub(crate) fn names(callers: &[&Service]) -> Vec<String> {
    callers.iter().map(|service| service.name_any()).collect()
}

/// Where the service listens: said by a person, else by those who send to it, else by its only port, its readiness or its own variable.
pub(crate) fn port(container: &Container, callers: &[&Service], asked: Option<u16>) -> Result<u16, Refusal> {
    let declared: BTreeSet<u16> =
        container.ports.iter().flatten().filter_map(|port| u16::try_from(port.container_port).ok()).collect();
    let sent: BTreeSet<u16> = callers.iter().flat_map(|service| targets(service, container)).collect();
    let probed = container.readiness_probe.as_ref().and_then(|probe| probed(probe, container));
    let variable = container.env.iter().flatten().find(|variable| variable.name == "PORT");
    let variable = variable.and_then(|variable| variable.value.as_ref()?.parse().ok());
    let one = |ports: &BTreeSet<u16>| if ports.len() == 1 { ports.first().copied() } else { None };
    let found = asked.or(one(&sent)).or(one(&declared)).or(probed.filter(|_| sent.is_empty())).or(variable);
    match found {
        Some(READY_PORT) => Err(Refusal::OwnPort(READY_PORT)),
        Some(port) => Ok(port),
        None => {
            let all: Vec<u16> = if sent.is_empty() { declared } else { sent }.into_iter().collect();
            Err(if all.is_empty() { Refusal::NoPort } else { Refusal::Ports(all) })
        }
    }
}

/// What the service's pods have so that callers go on to find them.
pub(crate) fn pods(container: &Container, labels: BTreeMap<String, String>, port: u16) -> Result<PodsSpec, Refusal> {
    let mut ports = BTreeMap::new();
    for declared in container.ports.iter().flatten() {
        let (Some(name), number) = (&declared.name, declared.container_port) else { continue };
        match OWN_NAMES.contains(&name.as_str()) {
            // It has that name without that anybody says it.
            true if name == "service" && number == i32::from(port) => {}
            true => return Err(Refusal::PortName { name: name.clone(), number }),
            false => drop(ports.insert(name.clone(), number)),
        }
    }
    let labels = labels.into_iter().filter(|(name, _)| name != "pod-template-hash").collect();
    Ok(PodsSpec { port: Some(port.into()), labels, ports })
}

fn targets(service: &Service, container: &Container) -> Vec<u16> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let target = |port: &k8s_openapi::api::core::v1::ServicePort| match &port.target_port {
        Some(target) => number(target, container),
        None => u16::try_from(port.port).ok(),
    };
    ports.iter().filter_map(target).collect()
}

fn probed(probe: &Probe, container: &Container) -> Option<u16> {
    let of_http = probe.http_get.as_ref().map(|http| &http.port);
    let port = of_http.or(probe.tcp_socket.as_ref().map(|socket| &socket.port))?;
    number(port, container)
}

fn number(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let declared = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name))?;
            u16::try_from(declared.container_port).ok()
        }
    }
}
