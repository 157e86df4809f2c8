//! Ends what a platform has left running, without the platform: what runs needs neither server nor registry to be ended.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use barge_engine_local::{LocalEngine, LocalEngineConfig, TrafficEndpoint};
use barge_image::Client as ImageClient;
use barge_registrar::{RegistrationTarget, RemoteGateway};
use barge_runtime::Tasks;

use super::{DataDirectory, PlatformError, STOP_LIMIT, SUSPEND_PATIENCE, gateway, registrar};

/// How long the gateway may take to acknowledge that it passes no more requests on.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(30);

/// Ends every instance below `directory`: in order where a gateway passes requests on to them, else at once.
pub(crate) async fn take_down(directory: &DataDirectory, behind: Option<&Path>) -> Result<(), PlatformError> {
    let reached = behind.map(gateway::reach).transpose()?;
    // Two at once on one gateway would take each other's instances for strangers.
    let _held = behind.map(|gateway| directory.hold_gateway(gateway)).transpose()?;
    let (acknowledge, acknowledgements) = barge_registrar::channel();
    let traffic =
        reached.as_ref().map(|reached| TrafficEndpoint { address: reached.api, token: reached.token.clone() });
    let engine = LocalEngine::open(LocalEngineConfig {
        directory: directory.subdirectory("engine")?,
        secrets: directory.subdirectory("secrets")?,
        init_program: vec!["/proc/self/exe".into()],
        images: ImageClient::new(HashMap::new()).map_err(PlatformError::Images)?,
        acknowledgements,
        open_files: None,
        traffic,
        only_ends: true,
    })
    .await
    .map_err(PlatformError::Engine)?;
    let Some(reached) = reached else {
        return if engine.suspend(SUSPEND_PATIENCE).await { Ok(()) } else { Err(PlatformError::StillRuns) };
    };
    let target = RemoteGateway::new(reached.api, reached.token).map_err(PlatformError::Target)?;
    let target: Arc<dyn RegistrationTarget> = Arc::new(target);
    let mut tasks = Tasks::default();
    let registrar = registrar(target, directory)?;
    tasks.spawn("registrar", registrar.run(engine.wanted(), acknowledge, tasks.shutdown_token()));
    let ended = engine.wind_down(GATEWAY_PATIENCE).await;
    tasks.stop(STOP_LIMIT).await;
    if ended { Ok(()) } else { Err(PlatformError::StillRuns) }
}
