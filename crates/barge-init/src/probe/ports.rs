//! The ports on which processes listen, found in /proc: for a project that says nothing about its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::Pid;

use crate::processes;

/// A socket that listens, in the state column of proc_net_tcp(5).
const LISTENING: &str = "0A";

/// Where the processes of a group, and everything below them, listen: loopback in the place of every address, lowest port first.
pub(super) fn of_group(group: Pid) -> Vec<SocketAddr> {
    let members = processes::of_group(group);
    let sockets: BTreeSet<u64> = members.iter().flat_map(|pid| sockets_of(*pid)).collect();
    let mut found: Vec<SocketAddr> = ["tcp", "tcp6"]
        .iter()
        // The processes may be in a network of their own; the table is that of the process whose directory it is.
        .flat_map(|table| {
            let first = members.first().map(|pid| format!("/proc/{pid}/net/{table}"));
            first.and_then(|path| std::fs::read_to_string(path).ok()).map(|text| listening(&text)).unwrap_or_default()
        })
        .filter(|(_, inode)| sockets.contains(inode))
        .map(|(address, _)| address)
        .collect();
    found.sort_by_key(|address| (address.port(), address.is_ipv6()));
    found.dedup();
    found
}

/// The sockets that a process has open, by their inodes.
fn sockets_of(pid: Pid) -> Vec<u64> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// What listens, by address and inode, in a table of proc_net_tcp(5). A line that cannot be understood is none.
fn listening(table: &str) -> Vec<(SocketAddr, u64)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        if *state != LISTENING {
            return None;
        }
        Some((reachable(address(local)?), inode.parse().ok()?))
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// `0100007F:1F90`: words of four bytes in the machine's own order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(host.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for part in 0..4 {
                bytes[part * 4..part * 4 + 4].copy_from_slice(&word(part * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Where a socket on every address is asked.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        ip @ IpAddr::V4(_) => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    #[test]
    fn a_table_tells_what_listens() {
        // As a machine with little-endian words writes it.
        if cfg!(target_endian = "big") {
            return;
        }
        let rows = [
            (
                "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 777 1 0",
                Some("127.0.0.1:8080"),
            ),
            (
                "1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 777 1 0",
                Some("127.0.0.1:80"),
            ),
            ("2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000 0 0 777 1 0", None),
            (
                "3: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 777 1",
                Some("[::1]:8081"),
            ),
            (
                "4: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 777 1",
                Some("127.0.0.1:8082"),
            ),
            ("5: 0100007F 00000000:0000 0A", None),
            ("6: 0100007:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 777 1 0", None),
            ("", None),
        ];
        for (row, expected) in rows {
            let found = listening(&format!("{HEAD}{row}\n"));
            let expected: Vec<(SocketAddr, u64)> =
                expected.map(|text| (text.parse().unwrap(), 777)).into_iter().collect();
            assert_eq!(found, expected, "{row}");
        }
    }
}
