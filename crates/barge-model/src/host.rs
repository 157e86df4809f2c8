//! Which names of hosts are this machine's own, where plain HTTP is no risk: of servers, of registries, and in Host headers. A web page whose
//! name is made to lead to loopback (DNS rebinding) sends its own name; whoever listens on loopback and asks for no more than an address
//! has to look at it. Nothing is looked up here.

use std::net::IpAddr;

/// The name in a host as requests have it: without a port.
pub fn name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether it is `localhost`, or an address of loopback.
pub fn is_loopback(host: &str) -> bool {
    let name = name(host).trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether it is a name below `localhost`, all of which are this machine (RFC 6761, 6.3).
pub fn is_below_localhost(host: &str) -> bool {
    name(host).trim_end_matches('.').to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_told_from_others() {
        for host in ["localhost", "LOCALHOST:7400", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:7400"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["greeter.test.localhost", "Greeter.TEST.LocalHost:8080", "greeter.test.localhost."] {
            assert!(is_below_localhost(host) && !is_loopback(host), "{host}");
        }
        let others = [
            "",
            "x",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "notlocalhost",
            "localhost:80@evil.example",
        ];
        for host in others {
            assert!(!is_loopback(host) && !is_below_localhost(host), "{host}");
        }
    }
}
