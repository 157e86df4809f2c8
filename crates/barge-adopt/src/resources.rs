//! CPU and memory. Barge asks for as much as it allows, so that only a limit can be carried over.

use std::collections::BTreeMap;

use barge_model::manifest::{Memory, MilliCpu, Resources};
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::Loss;

/// What a container may use, and what is lost of it.
pub(crate) fn resources(container: &Container) -> (Resources, Vec<Loss>) {
    let said = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (said.limits.unwrap_or_default(), said.requests.unwrap_or_default());
    let mut resources = Resources::default();
    let mut losses = Vec::new();
    let names: BTreeMap<&String, ()> = limits.keys().chain(requests.keys()).map(|name| (name, ())).collect();
    for name in names.into_keys() {
        let mut lost = |what: String| losses.push(Loss::new(format!("resources.{name}"), what));
        let Some(limit) = limits.get(name) else {
            lost(format!(
                "{} of {name} is requested without a limit; Barge's request is its limit",
                quantity(&requests[name])
            ));
            continue;
        };
        match name.as_str() {
            "cpu" => resources.cpu = in_parts(&limit.0, 1000).and_then(|cpu| Some(MilliCpu(u32::try_from(cpu).ok()?))),
            "memory" => resources.memory = in_parts(&limit.0, 1).map(Memory),
            _ => lost(format!("{} of {name}", quantity(limit))),
        }
        let unread = (name == "cpu" && resources.cpu.is_none()) || (name == "memory" && resources.memory.is_none());
        if unread {
            losses
                .push(Loss::new(format!("resources.{name}"), format!("{:?} is no quantity that Barge reads", limit.0)));
        }
    }
    (resources, losses)
}

fn quantity(quantity: &Quantity) -> &str {
    &quantity.0
}

/// How much a quantity is, in parts of `parts` for one. Kubernetes writes it with a decimal point, a suffix or an exponent; what is
/// between two parts is rounded up.
fn in_parts(text: &str, parts: u64) -> Option<u64> {
    const SUFFIXES: [(&str, u128, u128); 14] = [
        ("Ki", 1 << 10, 1),
        ("Mi", 1 << 20, 1),
        ("Gi", 1 << 30, 1),
        ("Ti", 1 << 40, 1),
        ("Pi", 1 << 50, 1),
        ("n", 1, 1_000_000_000),
        ("u", 1, 1_000_000),
        ("m", 1, 1000),
        ("k", 1000, 1),
        ("M", 1_000_000, 1),
        ("G", 1_000_000_000, 1),
        ("T", 1_000_000_000_000, 1),
        ("P", 1_000_000_000_000_000, 1),
        ("", 1, 1),
    ];
    let (number, factor, divisor) = match text.split_once(['e', 'E']).filter(|(_, exponent)| !exponent.is_empty()) {
        Some((number, exponent)) => (number, 10u128.checked_pow(exponent.parse().ok()?)?, 1),
        None => SUFFIXES
            .iter()
            .find_map(|(suffix, factor, divisor)| Some((text.strip_suffix(suffix)?, *factor, *divisor)))?,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = divisor.checked_mul(10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let all = digits.checked_mul(factor)?.checked_mul(parts.into())?.div_ceil(divisor);
    u64::try_from(all).ok().filter(|all| *all > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_means_them() {
        for (text, parts, expected) in [
            ("500m", 1000, Some(500)),
            ("2", 1000, Some(2000)),
            ("0.5", 1000, Some(500)),
            ("1500u", 1000, Some(2)),
            ("512Mi", 1, Some(512 << 20)),
            ("1.5Gi", 1, Some(3 << 29)),
            ("128M", 1, Some(128_000_000)),
            ("1e9", 1, Some(1_000_000_000)),
            ("1024", 1, Some(1024)),
            ("0", 1, None),
            ("-1", 1, None),
            ("many", 1, None),
            ("", 1, None),
        ] {
            assert_eq!(in_parts(text, parts), expected, "{text}");
        }
    }
}
