//! What each subcommand does, from its flags to its exit.

mod bench;
mod classify;
mod serve;
mod table;

use std::sync::Arc;

use crate::batcher::Batcher;
use crate::config::ModelArgs;
use crate::model::{self, ModelError};
use crate::pipeline::Pipeline;

pub use bench::bench;
pub use classify::classify;
pub use serve::serve;

/// Loads the model that the flags name and starts its threads.
fn start(args: &ModelArgs) -> anyhow::Result<Arc<Batcher>> {
    let pipeline = load(args)?;
    Ok(Arc::new(Batcher::start(Arc::new(pipeline), args.settings())?))
}

fn load(args: &ModelArgs) -> Result<Pipeline, ModelError> {
    Pipeline::load(&model::resolve(&args.models(), &args.model)?)
}
