//! The ports on which processes listen, found in /proc: for a project that says nothing about its own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::Pid;

use crate::processes;

/// A socket that listens, in the state column of proc_net_tcp(5).
const LISTENING: &str = "0A";

/// So many lines of other sockets are read. Linux puts those that listen first (tcp_get_idx in net/ipv4/tcp_ipv4.c); what else may stand
/// in for it need not.
const OTHERS: usize = 2000;

/// Where the processes of a group, and everything below them, listen: loopback in the place of every address, lowest port first.
pub(super) fn of_group(group: Pid) -> Vec<SocketAddr> {
    let members = processes::of_group(group);
    let sockets: BTreeSet<u64> = members.iter().flat_map(|pid| sockets_of(*pid)).collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        // The processes may be in a network of their own; the table is that of the process whose directory it is.
        let path = members.first().map(|pid| format!("/proc/{pid}/net/{table}"));
        if let Some(file) = path.and_then(|path| File::open(path).ok()) {
            let listening = listening(BufReader::new(file));
            found.extend(listening.filter(|(_, inode)| sockets.contains(inode)).map(|(address, _)| address));
        }
    }
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

/// What listens, by address and inode, in a table of proc_net_tcp(5). A line that cannot be understood is none. The table has a line for
/// each connection of the machine, which may be a hundred thousand; it is neither held as a whole, nor read on where nothing listens.
fn listening(mut table: impl BufRead) -> impl Iterator<Item = (SocketAddr, u64)> {
    let mut line = String::new();
    let mut others = 0;
    std::iter::from_fn(move || {
        while others < OTHERS {
            line.clear();
            // What is no text, or cannot be read, is the end.
            if table.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            if let Some(found) = listening_line(&line) {
                return Some(found);
            }
            others += 1;
        }
        None
    })
}

/// One line of the table; the one at its head has no state that we know.
fn listening_line(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_whitespace();
    let (local, state) = (fields.nth(1)?, fields.nth(1)?);
    if state != LISTENING {
        return None;
    }
    Some((reachable(address(local)?), fields.nth(5)?.parse().ok()?))
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

    #[test]
    fn a_table_is_not_read_to_its_end_for_nothing() {
        let listens = "0: 00000000:0050 00000000:0000 0A 0:0 00:0 0 0 0 777 1 0\n";
        let other = "1: 0100007F:1F90 0100007F:C350 06 0:0 00:0 0 0 0 0 1 0\n";
        let found = |others: usize| listening(format!("{HEAD}{}{listens}", other.repeat(others)).as_bytes()).count();
        assert_eq!((found(100), found(OTHERS)), (1, 0));
    }

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
            let found: Vec<(SocketAddr, u64)> = listening(format!("{HEAD}{row}\n").as_bytes()).collect();
            let expected: Vec<(SocketAddr, u64)> =
                expected.map(|text| (text.parse().unwrap(), 777)).into_iter().collect();
            assert_eq!(found, expected, "{row}");
        }
    }
}
