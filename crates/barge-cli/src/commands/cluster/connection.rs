//! The way to a cluster, and what people are told where it does not do what was asked.

use std::error::Error;
use std::time::Duration;

use barge_cluster::AskError;
use kube::Client;

use crate::failure::{Failure, Kind};
use crate::replica::ClusterArgs;

/// How long an API server may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A client; nothing is asked yet.
pub(crate) async fn client(cluster: &ClusterArgs) -> Result<Client, Failure> {
    let mut config = cluster.config().await?;
    (config.read_timeout, config.reset_reader_on_write) = (Some(LIMIT), true);
    Client::try_from(config)
        .map_err(|error| Failure::from_error(Kind::General, &error).context("set up the way to the cluster"))
}

/// What an error is to people: whether the cluster was there, and what it has refused.
pub(crate) fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(found) = cause {
        if let Some(found) = found.downcast_ref::<AskError>() {
            return match found {
                AskError::Refused { code: 401 | 403, .. } => Failure::from_error(Kind::Refused, error)
                    .hint("`barge cluster check` says what you may do; somebody with the role cluster-admin installs"),
                AskError::Refused { .. } => Failure::from_error(Kind::Refused, error),
                AskError::Unreachable(_) => Failure::from_error(Kind::Unreachable, error).hint(
                    "`kubectl cluster-info` tells whether it answers; --kubeconfig and --context name another one",
                ),
                AskError::Other(_) => Failure::from_error(Kind::General, error),
            };
        }
        cause = found.source();
    }
    Failure::from_error(Kind::General, error)
}
