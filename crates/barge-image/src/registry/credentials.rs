//! Who we are to a registry.

/// Who we are to a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody.
    #[default]
    Anonymous,
    /// A user or robot account. The name may hold any character, `$` too.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// Whoever an earlier login has got this token for; a token server gives others for it (an OAuth 2 refresh token).
    Identity {
        /// The token.
        token: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Anonymous => f.write_str("Anonymous"),
            Credentials::Basic { username, .. } => write!(f, "Basic({username}, ...)"),
            Credentials::Identity { .. } => f.write_str("Identity(...)"),
        }
    }
}

/// What a request says of who we are.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Authorization {
    Basic { username: String, password: String },
    Bearer(String),
}

impl Authorization {
    pub(super) fn add(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self {
            Authorization::Basic { username, password } => request.basic_auth(username, Some(password)),
            Authorization::Bearer(token) => request.bearer_auth(token),
        }
    }
}
