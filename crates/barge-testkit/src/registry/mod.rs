//! Real registries for tests: Debian's docker-registry as a process of the test's own, with what stands around registries: an authority
//! for its certificate, a token server, and a proxy that makes trouble.

mod authority;
mod docker;
mod proxy;
mod tokens;

pub use authority::Authority;
pub use docker::{Asks, DockerRegistry, PASSWORD, USER};
pub use proxy::{Fault, FaultProxy, Seen, Trouble};
pub use tokens::{TokenRequest, TokenServer};
