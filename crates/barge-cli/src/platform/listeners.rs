//! The ports of a platform: taken before anything else, and the same ones after a restart.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use super::{DataDirectory, PlatformError, Ports};

/// Listening sockets with their addresses.
pub(super) struct Listeners {
    pub(super) api: (TcpListener, SocketAddr),
    pub(super) registry: (TcpListener, SocketAddr),
    pub(super) gateway: Option<(TcpListener, SocketAddr)>,
}

impl Listeners {
    /// Opens all of them; the gateway's only where it is `own`.
    pub(super) async fn open(directory: &DataDirectory, wanted: Ports, own: bool) -> Result<Self, PlatformError> {
        let last = directory.ports();
        let api = listen("API", "--port", wanted.api, last.api).await?;
        let registry = listen("registry", "--registry-port", wanted.registry, last.registry).await?;
        let gateway = match own {
            true => Some(listen("gateway", "--gateway-port", wanted.gateway, last.gateway).await?),
            false => None,
        };
        let port = gateway.as_ref().map_or(last.gateway, |gateway| gateway.1.port());
        let ports = Ports { api: api.1.port(), registry: registry.1.port(), gateway: port };
        if ports != last {
            directory.put_ports(ports)?;
        }
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
