//! What can be chosen of an installation.

/// What can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The image of all parts, by digest. It has barge and barge-init in /app.
    pub image: String,
    /// The kind of machine that the image is for, as nodes say it; any where it is not known.
    pub architecture: Option<String>,
    /// Secrets with which images are pulled; each has to be in the namespace of the parts and in those of services.
    pub pull_secrets: Vec<String>,
    /// The only namespace that services may be in; any where it is none.
    pub services: Option<String>,
    /// Services answer at SERVICE.ENVIRONMENT.DOMAIN.
    pub domain: String,
}

/// A part of Barge that runs on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// Brings services on.
    Operator,
    /// Tells the gateway who serves.
    Registrar,
    /// Passes requests on.
    Gateway,
}

impl Component {
    /// All of them, in the order in which they are of use.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Registrar, Self::Operator];

    /// What its objects are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "barge-operator",
            Self::Registrar => "barge-registrar",
            Self::Gateway => "barge-gateway",
        }
    }

    /// Where its first port is.
    pub const fn port(self) -> u16 {
        match self {
            Self::Operator => 7374,
            Self::Registrar => 7375,
            Self::Gateway => 7402,
        }
    }

    /// How many there are. All but one wait for a lease; a gateway has none.
    pub const fn replicas(self) -> i32 {
        match self {
            Self::Operator | Self::Registrar => 2,
            Self::Gateway => 1,
        }
    }

    /// The lease that its leader holds.
    pub const fn lease(self) -> Option<&'static str> {
        match self {
            Self::Operator | Self::Registrar => Some(self.name()),
            Self::Gateway => None,
        }
    }
}

/// Where instances are registered at the gateway.
pub(crate) const REGISTRATIONS: u16 = 7403;
