//! An address of its own for each instance, and a port that no other instance has.
//!
//! The whole of 127.0.0.0/8 is loopback on Linux, so an application that binds `HOST` gets an address like a container's. One that
//! binds 0.0.0.0 or 127.0.0.1 works as well, because the port is unique. Ports lie below the kernel's ephemeral range (32768 and up), where
//! an outgoing connection could take them in the moment before the application binds.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use rand::Rng;

const PORTS: std::ops::Range<u16> = 18_000..32_000;

/// No address could be found.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Every port is taken.
    #[error("find a free port between {} and {}: all are taken", PORTS.start, PORTS.end)]
    NoPort,
}

/// Picks an address and a port that are not among the taken ones and that nobody listens on.
pub(crate) fn allocate(taken: &BTreeSet<u16>) -> Result<(Ipv4Addr, u16), AddressError> {
    let mut random = rand::rng();
    let count = PORTS.end - PORTS.start;
    let first = random.random_range(0..count);
    for offset in 0..count {
        let port = PORTS.start + (first + offset) % count;
        // Binding every address finds out whether the port is free on any of them.
        if !taken.contains(&port) && nobody_listens(port) {
            let host = Ipv4Addr::new(127, random.random_range(64..128), random.random(), random.random_range(1..255));
            return Ok((host, port));
        }
    }
    Err(AddressError::NoPort)
}

fn nobody_listens(port: u16) -> bool {
    let free = |host: IpAddr| match TcpListener::bind((host, port)) {
        Ok(_) => true,
        // A machine without one of the two protocols cannot have a listener there.
        Err(error) => error.kind() != std::io::ErrorKind::AddrInUse,
    };
    free(Ipv4Addr::UNSPECIFIED.into()) && free(Ipv6Addr::UNSPECIFIED.into())
}
