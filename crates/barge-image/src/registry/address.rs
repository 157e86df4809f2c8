//! Addresses that registries give: compared, joined, and put right where a registry does not know of the TLS before it.

use reqwest::Url;

/// Whether both addresses are those of one server: scheme, host and port, however they are written.
pub(super) fn same_server(one: &str, other: &str) -> bool {
    match (Url::parse(one), Url::parse(other)) {
        (Ok(one), Ok(other)) => one.origin() == other.origin(),
        _ => false,
    }
}

/// A Location as registries give it, relative or absolute, with its query kept.
pub(super) fn join(base: &str, location: &str) -> Option<String> {
    Some(Url::parse(base).ok()?.join(location).ok()?.into())
}

/// Adds a parameter whose value needs no escaping but the colon.
pub(super) fn with(url: &str, name: &str, value: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{name}={}", value.replace(':', "%3A").replace('/', "%2F"))
}

/// A Location that a registry behind TLS gives with `http://`, since it does not know of the TLS before it: the same path and query
/// at `begin`'s own server. Nothing where it is another host's, which may really be meant.
pub(super) fn behind_tls(begin: &str, location: &str) -> Option<String> {
    let (begin, location) = (Url::parse(begin).ok()?, Url::parse(location).ok()?);
    let mistaken = begin.scheme() == "https" && location.scheme() == "http";
    if !mistaken || begin.host_str() != location.host_str() {
        return None;
    }
    let mut right = begin;
    right.set_path(location.path());
    right.set_query(location.query());
    Some(right.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_the_same_however_it_is_written() {
        for (one, other, same) in [
            ("https://registry.example/v2/a/", "https://registry.example:443/v2/a/blobs/uploads/1?x=y", true),
            ("https://Registry.Example:443/v2/a/", "https://registry.example/", true),
            ("http://LOCALHOST:80/v2/a/", "http://localhost/", true),
            ("http://localhost:5000/v2/a/", "http://localhost/", false),
            ("https://registry.example/v2/a/", "http://registry.example/", false),
            ("https://registry.example/v2/a/", "https://registry.example:444/", false),
            ("https://registry.example/v2/a/", "https://registry.example.evil/", false),
            ("https://registry.example/v2/a/", "https://registry.example@evil/", false),
            ("https://registry.example/v2/a/", "https://evil/registry.example", false),
            ("neither", "neither", false),
        ] {
            assert_eq!(same_server(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn a_location_without_the_tls_before_it_is_understood_and_another_hosts_is_not_touched() {
        let begin = "https://registry.example:8443/v2/a/blobs/uploads/";
        for (location, expected) in [
            ("http://registry.example/v2/a/1?s=%3D", Some("https://registry.example:8443/v2/a/1?s=%3D")),
            ("http://registry.example:5000/v2/a/1", Some("https://registry.example:8443/v2/a/1")),
            ("http://other.example/v2/a/1", None),
            ("http://registry.example@evil/v2/a/1", None),
            ("https://registry.example:8443/v2/a/1", None),
        ] {
            assert_eq!(behind_tls(begin, location).as_deref(), expected, "{location}");
        }
        assert_eq!(behind_tls("http://localhost/v2/", "http://localhost/v2/1"), None);
    }
}
