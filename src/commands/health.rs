//! `tasnif health`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use crate::config::HealthArgs;

/// A probe that takes longer has failed, whatever it would have said.
const PATIENCE: Duration = Duration::from_secs(5);

/// Succeeds if the service answers that it is ready. The unspecified address, which a service listens on, leads to itself on Linux.
pub fn health(args: &HealthArgs) -> anyhow::Result<()> {
    let address = SocketAddr::from((args.address.host, args.address.port));
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None);
    ureq::Agent::new_with_config(config.build())
        .get(format!("http://{address}/health/ready"))
        .call()
        .with_context(|| format!("the service at {address} is not ready"))?;
    Ok(())
}
