//! The ports of a platform: taken before anything else, and the same ones after a restart.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use super::gateway::Reached;
use super::{DataDirectory, PlatformError, Ports};

/// Listening sockets with their addresses.
pub(super) struct Listeners {
    pub(super) api: (TcpListener, SocketAddr),
    pub(super) registry: (TcpListener, SocketAddr),
    pub(super) gateway: Door,
}

/// Where services answer.
pub(super) enum Door {
    /// Here, by a gateway that is a part of this process.
    Own(TcpListener, SocketAddr),
    /// By a gateway that runs on its own.
    Alone(Reached),
}

impl Listeners {
    /// Opens all of them; one for the gateway only where none is `alone`.
    pub(super) async fn open(
        directory: &DataDirectory,
        wanted: Ports,
        alone: Option<Reached>,
    ) -> Result<Self, PlatformError> {
        let last = directory.ports();
        let api = listen("API", "--port", wanted.api, last.api).await?;
        let registry = listen("registry", "--registry-port", wanted.registry, last.registry).await?;
        let (gateway, port) = match alone {
            Some(reached) => (Door::Alone(reached), last.gateway),
            None => {
                let (listener, serves) = listen("gateway", "--gateway-port", wanted.gateway, last.gateway).await?;
                (Door::Own(listener, serves), serves.port())
            }
        };
        directory.put_ports(Ports { api: api.1.port(), registry: registry.1.port(), gateway: port })?;
        Ok(Self { api, registry, gateway })
    }
}

/// Listens on loopback; 0 wants the port of the last run, or any that is free.
pub(super) async fn listen(
    what: &'static str,
    option: &'static str,
    wanted: u16,
    last: u16,
) -> Result<(TcpListener, SocketAddr), PlatformError> {
    let bind = async |port: u16| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let fail = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => PlatformError::PortTaken { what, port: wanted, option },
        _ => PlatformError::Listen { what, port: wanted, source },
    };
    if wanted == 0
        && last != 0
        && let Ok(found) = bind(last).await
    {
        return Ok(found);
    }
    bind(wanted).await.map_err(fail)
}
