//! The ports of a platform: taken before anything else, and the same ones after a restart.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use super::gateway::Reached;
use super::{DataDirectory, PlatformError, Ports};

/// So many clients may wait to be accepted, as far as the system allows: a burst of new ones is served late rather than turned away.
const BACKLOG: u32 = 4096;

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
        registry_address: IpAddr,
        alone: Option<Reached>,
    ) -> Result<Self, PlatformError> {
        let last = directory.ports();
        let api = listen("API", "--port", LOOPBACK, wanted.api, last.api).await?;
        let registry = listen("registry", "--registry-port", registry_address, wanted.registry, last.registry).await?;
        let (gateway, port) = match alone {
            Some(reached) => (Door::Alone(reached), last.gateway),
            None => {
                let (listener, serves) =
                    listen("gateway", "--gateway-port", LOOPBACK, wanted.gateway, last.gateway).await?;
                (Door::Own(listener, serves), serves.port())
            }
        };
        directory.put_ports(Ports { api: api.1.port(), registry: registry.1.port(), gateway: port })?;
        Ok(Self { api, registry, gateway })
    }
}

/// Where everything listens that asks for no more than an address.
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Listens at an address; port 0 wants the port of the last run, or any that is free.
pub(super) async fn listen(
    what: &'static str,
    option: &'static str,
    address: IpAddr,
    wanted: u16,
    last: u16,
) -> Result<(TcpListener, SocketAddr), PlatformError> {
    let bind = async |port: u16| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // So that a platform that comes back gets its ports although connections of before still end.
        socket.set_reuseaddr(true)?;
        socket.bind((address, port).into())?;
        let listener = socket.listen(BACKLOG)?;
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
