//! What the API server, or the way to it, has against a request: in its own words, and once. The client's own errors repeat their causes.

/// Why a request was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The API server has refused it.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// Its words.
        message: String,
    },
    /// Nobody has answered.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl From<kube::Error> for AskError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused { code: status.code, message: status.message },
            kube::Error::Service(error) => Self::Unreachable(barge_runtime::chain(error.as_ref())),
            kube::Error::HyperError(error) => Self::Unreachable(barge_runtime::chain(&error)),
            error => Self::Other(error.to_string()),
        }
    }
}
