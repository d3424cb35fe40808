//! candle-transformers' own BERT in f32, as one of the engines that scripts/bench_peers.py compares: padded batches as JSON
//! lines on standard input, logits as JSON lines on standard output.
//!
//! ```text
//! cargo build --release --example stock_candle
//! ```

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::Context;
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{Linear, VarBuilder, linear};
use candle_transformers::models::bert::{BertModel, Config};
use serde::{Deserialize, Serialize};

/// All `[batch, positions]`.
#[derive(Deserialize)]
struct Inputs {
    ids: Vec<Vec<u32>>,
    mask: Vec<Vec<u32>>,
    /// Weights that take the mean of the text's states, and of the target's.
    text: Vec<Vec<f32>>,
    target: Vec<Vec<f32>>,
}

#[derive(Serialize)]
struct Logits {
    topics: Vec<Vec<f32>>,
    stance: Vec<Vec<f32>>,
}

struct Classifier {
    trunk: BertModel,
    topics: Linear,
    stance: Linear,
}

impl Classifier {
    fn load(folder: &Path) -> anyhow::Result<Self> {
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
        let labels = tensors.get("topics.bias").context("no topics.bias")?.dim(0)?;
        let vars = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Ok(Self {
            topics: linear(config.hidden_size, labels, vars.pp("topics"))?,
            stance: linear(2 * config.hidden_size, 4, vars.pp("stance"))?,
            trunk: BertModel::load(vars, &config)?,
        })
    }

    fn read(&self, inputs: &Inputs) -> candle_core::Result<Logits> {
        let tensor = |rows: &[Vec<u32>]| Tensor::new(rows.to_vec(), &Device::Cpu);
        let ids = tensor(&inputs.ids)?;
        let states = self
            .trunk
            .forward(&ids, &ids.zeros_like()?, Some(&tensor(&inputs.mask)?))?;
        let mean = |weights: &[Vec<f32>]| {
            let weights = Tensor::new(weights.to_vec(), &Device::Cpu)?.unsqueeze(1)?;
            weights.matmul(&states)?.squeeze(1)
        };
        let text = mean(&inputs.text)?;
        let both = Tensor::cat(&[&mean(&inputs.target)?, &text], 1)?;
        Ok(Logits {
            topics: self.topics.forward(&text)?.to_vec2()?,
            stance: self.stance.forward(&both)?.to_vec2()?,
        })
    }
}

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: stock_candle FOLDER")?;
    let classifier = Classifier::load(Path::new(&folder))?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let logits = classifier.read(&serde_json::from_str(&line?)?)?;
        writeln!(out, "{}", serde_json::to_string(&logits)?)?;
        out.flush()?;
    }
    Ok(())
}
