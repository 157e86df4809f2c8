//! Connections to registries that are named as `HOST:PORT`, bounded in time, and what went wrong in words.
//!
//! A name is looked up for each connection, since a registry may move. The look-up's own limit is the resolver's.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::course::Outcome;

/// Why a registry was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody was there to be told.
    Unreached(String),
    /// Nobody knows what came of it.
    Failed(String),
}

impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreached(why) => Outcome::Unreached(why),
            Trouble::Failed(why) => Outcome::Failed(why),
        }
    }
}

/// Connects to the first address of `name` that accepts.
pub(super) fn connect(name: &str, deadline: Instant) -> Result<TcpStream, String> {
    let addresses: Vec<SocketAddr> =
        name.to_socket_addrs().map_err(|error| format!("{name} cannot be found: {error}"))?.collect();
    let mut why = format!("{name} cannot be found: it has no address");
    for (tried, address) in addresses.iter().enumerate() {
        // One address that does not answer leaves time for the others.
        let share = left(deadline) / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => {
                // What we say is short, and must not wait for more.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => why = in_words(&error),
        }
    }
    Err(why)
}

/// What is left until `deadline`.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// An error of a connection, for people.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "nobody listens there (connection refused)".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "no answer in time".to_owned(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "the connection was closed without an answer".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The address to tell: for an instance that listens everywhere, the one by which this machine has reached the registry.
pub(super) fn told(address: SocketAddr, stream: &TcpStream) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let own: Option<IpAddr> = stream.local_addr().ok().map(|local| local.ip());
    SocketAddr::new(own.unwrap_or(address.ip()), address.port())
}
