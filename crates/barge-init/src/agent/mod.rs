//! The agent: registers the instance where no engine and no registrar does, such as on machines that run containers without Kubernetes.
//!
//! [`Agent`] is the plan's part that says where. [`course`] decides what the registry is to be told, and when; `handle` is the thread that
//! carries it out; `consul`, `zookeeper` and `protocol` are the registries, over `web` and `connect`; `secret` keeps the token.
//!
//! A registry that is away, slow or wrong costs the instance nothing but its registration: nothing here stops or delays the business
//! process. What is killed is forgotten by the registry itself, where that knows an expiry. It leaves out who is found by whom: consumers
//! ask the registry.

mod connect;
mod consul;
pub mod course;
mod handle;
mod protocol;
mod secret;
mod web;
mod zookeeper;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::consul::Consul;
use self::handle::Instance;
use self::protocol::Protocol;
use self::secret::Credentials;
use self::zookeeper::ZooKeeper;
use crate::plan::{expand, own_environment};

pub(crate) use connect::Host;
pub use handle::Handle;
pub use secret::Secret;

/// Where the instance is registered, and as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The registry.
    pub registry: Registry,
    /// The service that the instance is one of.
    pub service: String,
    /// The address to tell, as `ADDRESS:PORT` or `ADDRESS` alone; `$NAME` stands for variables of barge-init's own environment. Without
    /// one it is where the instance answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How long the registry may hear nothing before it takes the instance for dead, in milliseconds. A heartbeat comes three times as
    /// often.
    #[serde(default = "fifteen_seconds")]
    pub ttl_ms: u64,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Anything that consumers should know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// What the registry asks for: Consul's ACL token, the protocol's bearer token, or `USER:PASSWORD` for ZooKeeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// A file with it, read for each call, or for each connection to ZooKeeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum Registry {
    /// Consul, through one of its agents.
    Consul {
        /// The agent's HTTP API, as `HOST:PORT`.
        address: String,
        /// How long after its last heartbeat a dead instance is removed, in milliseconds; Consul makes a minute of less.
        #[serde(default = "a_minute")]
        deregister_after_ms: u64,
    },
    /// ZooKeeper.
    ZooKeeper {
        /// Its servers, as `HOST:PORT`.
        servers: Vec<String>,
        /// The node below which services have theirs: the instance's is `PATH/SERVICE/INSTANCE`.
        #[serde(default = "services")]
        path: String,
    },
    /// Whatever takes the registration protocol, such as `barge gateway`.
    Protocol {
        /// Its API, as `HOST:PORT`.
        address: String,
        /// The environment that the instance is in.
        environment: String,
        /// Instances of an earlier epoch are refused.
        #[serde(default)]
        epoch: u64,
        /// The instance's share of traffic.
        #[serde(default = "one")]
        weight: u32,
    },
}

/// Why a plan's agent makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// A name that some registry would take for something else.
    #[error("{name:?} cannot be registered: {what} must not be empty or have a '/' or control characters")]
    Name {
        /// What it is the name of.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The address to tell is none.
    #[error("the address {address:?} to tell is not ADDRESS:PORT")]
    Address {
        /// What stands there.
        address: String,
    },
    /// Nobody knows where the instance answers.
    #[error("no address to tell: the plan has none, and the instance's own is not known")]
    NoAddress,
    /// The registry's address is none.
    #[error("the registry's address {address:?} is not HOST:PORT")]
    Registry {
        /// What stands there.
        address: String,
    },
    /// ZooKeeper without servers.
    #[error("ZooKeeper needs servers")]
    NoServers,
    /// No path of ZooKeeper.
    #[error("the path {path:?} is none of ZooKeeper's: it begins with '/' and does not end with one")]
    Path {
        /// What stands there.
        path: String,
    },
    /// Too short to be kept alive, or too long to be told.
    #[error("a time to live of {ttl_ms} ms is not between a second and a day")]
    Ttl {
        /// What stands there.
        ttl_ms: u64,
    },
    /// Two tokens.
    #[error("the plan has a token and a file with a token")]
    TwoTokens,
}

/// Why an agent cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The plan's part makes no sense.
    #[error(transparent)]
    Plan(#[from] AgentError),
    /// No thread.
    #[error("start the agent's thread")]
    Thread(#[source] std::io::Error),
}

impl Agent {
    /// Checks that it can be started, but for the address to tell.
    ///
    /// # Errors
    /// The plan's part makes no sense.
    pub fn check(&self) -> Result<(), AgentError> {
        check_name("a service's name", &self.service)?;
        if !(1000..=24 * 3600 * 1000).contains(&self.ttl_ms) {
            return Err(AgentError::Ttl { ttl_ms: self.ttl_ms });
        }
        if self.token.is_some() && self.token_file.is_some() {
            return Err(AgentError::TwoTokens);
        }
        match &self.registry {
            Registry::Consul { address, .. } | Registry::Protocol { address, .. } => check_host(address),
            Registry::ZooKeeper { servers, .. } if servers.is_empty() => Err(AgentError::NoServers),
            Registry::ZooKeeper { servers, path } => {
                servers.iter().try_for_each(|server| check_host(server))?;
                let sound = path == "/" || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_name));
                if sound { Ok(()) } else { Err(AgentError::Path { path: path.clone() }) }
            }
        }
    }

    /// Starts the agent of `instance`, which answers at `address`, unless the plan has another one. Nothing is registered before
    /// [`Handle::ready`] is called. `tell` hears in words of each change, in the agent's thread.
    ///
    /// # Errors
    /// The plan's part makes no sense, or no thread can be started.
    pub fn start(
        &self,
        instance: &str,
        address: Option<SocketAddr>,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Result<Handle, StartError> {
        self.check()?;
        check_name("an instance's id", instance)?;
        let ttl = Duration::from_millis(self.ttl_ms);
        let instance = Instance {
            id: instance.to_owned(),
            service: self.service.clone(),
            address: self.told(address)?,
            tags: self.tags.clone(),
            meta: self.meta.clone(),
            ttl,
        };
        handle::start(self.registry(instance), ttl, tell).map_err(StartError::Thread)
    }

    fn registry(&self, instance: Instance) -> Box<dyn handle::Registry> {
        let credentials = Credentials { token: self.token.clone(), file: self.token_file.clone() };
        match self.registry.clone() {
            Registry::Consul { address, deregister_after_ms } => {
                let after = Duration::from_millis(deregister_after_ms);
                Box::new(Consul::new(address, after, credentials, instance))
            }
            Registry::ZooKeeper { servers, path } => Box::new(ZooKeeper::new(servers, &path, credentials, instance)),
            Registry::Protocol { address, environment, epoch, weight } => {
                Box::new(Protocol::new(address, environment, (epoch, weight), credentials, instance))
            }
        }
    }

    /// The address to tell: the plan's, with what it leaves open from the instance's own.
    fn told(&self, own: Option<SocketAddr>) -> Result<SocketAddr, AgentError> {
        let Some(template) = &self.address else { return own.map(for_others).ok_or(AgentError::NoAddress) };
        expanded(template, &own_environment(), own)
    }
}

/// The address that a template becomes, with what it leaves open from the instance's own.
fn expanded(
    template: &str,
    variables: &BTreeMap<String, String>,
    own: Option<SocketAddr>,
) -> Result<SocketAddr, AgentError> {
    let text = expand(template, variables);
    // An address of IPv6 from a variable has colons of its own, and seldom brackets.
    let variable = |(host, port): (&str, &str)| {
        let ip = host.contains('$').then(|| expand(host, variables).parse().ok())??;
        Some(SocketAddr::new(ip, expand(port, variables).parse().ok()?))
    };
    if let Some(address) = template.rsplit_once(':').and_then(variable) {
        return Ok(address);
    }
    let alone = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, own?.port()));
    text.parse().ok().or_else(alone).ok_or_else(|| AgentError::Address { address: text.clone() })
}

/// What was found on this machine's own loopback may be found from elsewhere at the address that others reach this machine by. Other
/// addresses of loopback are somebody's choice.
fn for_others(own: SocketAddr) -> SocketAddr {
    match own.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), own.port()),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), own.port()),
        _ => own,
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), AgentError> {
    if is_name(name) { Ok(()) } else { Err(AgentError::Name { what, name: name.to_owned() }) }
}

/// Whether it can stand in a path.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(|letter: char| letter == '/' || letter.is_control())
}

fn check_host(address: &str) -> Result<(), AgentError> {
    let parts = address.rsplit_once(':');
    let sound = |(host, port): (&str, &str)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if parts.is_some_and(sound) { Ok(()) } else { Err(AgentError::Registry { address: address.to_owned() }) }
}

fn fifteen_seconds() -> u64 {
    15_000
}

fn a_minute() -> u64 {
    60_000
}

fn services() -> String {
    "/services".to_owned()
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_as_others_can_reach_it() {
        let variables = [("V4", "10.0.0.7"), ("V6", "fd00::1"), ("PORT", "8080"), ("EMPTY", "")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let own = Some("127.0.0.1:9000".parse().unwrap());
        for (template, expected) in [
            ("$V4:8080", Some("10.0.0.7:8080")),
            ("$V4:$PORT", Some("10.0.0.7:8080")),
            ("$V4", Some("10.0.0.7:9000")),
            ("$V6:8080", Some("[fd00::1]:8080")),
            ("[$V6]:8080", Some("[fd00::1]:8080")),
            ("$V6", Some("[fd00::1]:9000")),
            ("fd00::1:8080", Some("[fd00::1:8080]:9000")),
            ("10.0.0.7:80", Some("10.0.0.7:80")),
            ("$EMPTY:80", None),
            ("$V4:port", None),
        ] {
            let told = expanded(template, &variables, own).ok().map(|address| address.to_string());
            assert_eq!(told.as_deref(), expected, "{template}");
        }
        let for_others = |own: &str| for_others(own.parse().unwrap()).to_string();
        assert_eq!(for_others("127.0.0.1:80"), "0.0.0.0:80");
        assert_eq!(for_others("[::1]:80"), "[::]:80");
        assert_eq!(for_others("127.77.1.2:80"), "127.77.1.2:80");
    }
}
