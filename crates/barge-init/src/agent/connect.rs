//! Connections to registries, and to whoever tells of traffic, that are named as `HOST:PORT`, bounded in time, and what went wrong in words.
//!
//! A name is looked up for each connection, since a registry may move. The resolver has no limit that could be set, so a thread of its own
//! waits for it; where it is late or fails, the addresses that were found last are tried.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
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

/// How a name is looked up.
type LookUp = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Where a server is.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    /// What the last look-up has found.
    known: Vec<SocketAddr>,
    /// A look-up that has not answered yet. There is never a second one.
    asked: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
    look_up: LookUp,
}

impl Host {
    /// The host with a name, as `HOST:PORT`.
    pub(crate) fn new(name: String) -> Self {
        Self { name, known: Vec::new(), asked: None, look_up: |name| Ok(name.to_socket_addrs()?.collect()) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects to the first of its addresses that accepts.
    pub(crate) fn connect(&mut self, deadline: Instant) -> Result<TcpStream, String> {
        let addresses = self.addresses(deadline).map_err(|why| format!("{} cannot be found: {why}", self.name))?;
        let mut why = String::new();
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

    /// At least one address.
    fn addresses(&mut self, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = self.name.parse() {
            return Ok(vec![address]);
        }
        let asked = match self.asked.take() {
            Some(asked) => asked,
            None => self.ask().map_err(|error| error.to_string())?,
        };
        // Half of the time is for the addresses that are known already.
        let patience = if self.known.is_empty() { left(deadline) } else { left(deadline) / 2 };
        let found = match asked.recv_timeout(patience) {
            Ok(Ok(found)) if found.is_empty() => Err("it has no address".to_owned()),
            Ok(Ok(found)) => {
                self.known = found;
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                self.asked = Some(asked);
                Err("no answer in time".to_owned())
            }
            Err(RecvTimeoutError::Disconnected) => Err("the look-up broke off".to_owned()),
        };
        match found {
            Err(why) if self.known.is_empty() => Err(why),
            _ => Ok(self.known.clone()),
        }
    }

    fn ask(&self) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
        let (answer, asked) = mpsc::channel();
        let (name, look_up) = (self.name.clone(), self.look_up);
        let work = move || {
            // Nobody waits for it any more where the agent has ended.
            let _ = answer.send(look_up(&name));
        };
        std::thread::Builder::new().name("look-up".to_owned()).stack_size(256 * 1024).spawn(work)?;
        Ok(asked)
    }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::OnceLock;

    use super::*;

    /// A resolver that finds a listener once, and then does not answer for longer than any test waits.
    fn once_then_never(_: &str) -> io::Result<Vec<SocketAddr>> {
        static LISTENER: OnceLock<TcpListener> = OnceLock::new();
        let mut first = false;
        let listener = LISTENER.get_or_init(|| {
            first = true;
            TcpListener::bind("127.0.0.1:0").unwrap()
        });
        if !first {
            std::thread::sleep(Duration::from_secs(600));
        }
        Ok(vec![listener.local_addr()?])
    }

    fn never(_: &str) -> io::Result<Vec<SocketAddr>> {
        std::thread::sleep(Duration::from_secs(600));
        Ok(Vec::new())
    }

    fn unknown(_: &str) -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("no such name"))
    }

    fn host(look_up: LookUp) -> Host {
        Host { look_up, ..Host::new("registry.example:80".to_owned()) }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_not_waited_for() {
        let mut host = host(never);
        let begin = Instant::now();
        assert_eq!(host.connect(soon()).unwrap_err(), "registry.example:80 cannot be found: no answer in time");
        assert!(begin.elapsed() < Duration::from_secs(60), "the resolver's own time");
        assert!(host.asked.is_some(), "it is asked once");
    }

    #[test]
    fn what_was_found_last_is_tried_where_the_resolver_is_late_or_fails() {
        let mut host = host(once_then_never);
        host.connect(Instant::now() + Duration::from_secs(60)).unwrap();
        host.connect(soon()).unwrap();
        (host.asked, host.look_up) = (None, unknown);
        host.connect(Instant::now() + Duration::from_secs(60)).unwrap();
        host.known.clear();
        assert_eq!(host.connect(soon()).unwrap_err(), "registry.example:80 cannot be found: no such name");
    }
}
