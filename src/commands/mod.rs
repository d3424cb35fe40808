//! What each subcommand does, from its flags to its exit.

mod bench;
mod classify;
mod health;
mod key;
mod models;
mod score;
mod serve;
mod table;

use std::sync::Arc;

use crate::batcher::Batcher;
use crate::config::EngineArgs;
use crate::model;
use crate::pipeline::Pipeline;

pub use bench::bench;
pub use classify::classify;
pub use health::health;
pub use key::key;
pub use models::models;
pub use score::score;
pub use serve::serve;

/// One model and the threads for it, for the commands that need no registry.
fn start(args: &EngineArgs, model: &str) -> anyhow::Result<(Batcher, Arc<Pipeline>)> {
    let pipeline = Pipeline::load(&model::resolve(&args.models(), model)?, args.precision())?;
    Ok((Batcher::start(args.settings())?, Arc::new(pipeline)))
}
