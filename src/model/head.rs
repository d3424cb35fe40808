//! The linear heads on the encoder's hidden states.

use candle_core::{Module, Tensor};
use candle_nn::Linear;

use crate::weights::{Weights, WeightsError};

/// A linear head on mean-pooled states. Linear and mean commute, so the head is applied to each token and the mean taken
/// afterwards: a token's row, divided by their number, is its exact share of the logit.
#[derive(Debug)]
pub struct Head {
    linear: Linear,
    bias: Vec<f32>,
}

impl Head {
    /// Reads `NAME.weight` `[labels, hidden]` and `NAME.bias` `[labels]`.
    pub fn load(weights: &Weights, name: &str, hidden: usize, labels: usize) -> Result<Self, WeightsError> {
        let weight = weights.tensor(&format!("{name}.weight"), &[labels, hidden])?;
        let bias = weights.tensor(&format!("{name}.bias"), &[labels])?.to_vec1()?;
        Ok(Self {
            linear: Linear::new(weight, None),
            bias,
        })
    }

    /// `states` `[tokens, hidden]` → the logits `[labels]` and the tokens' shares of them `[tokens][labels]`.
    pub fn apply(&self, states: &Tensor) -> Result<(Vec<f32>, Vec<Vec<f32>>), candle_core::Error> {
        let tokens = states.dim(0)?;
        let shares: Vec<Vec<f32>> = (self.linear.forward(states)? / tokens as f64)?.to_vec2()?;
        let mut logits = self.bias.clone();
        for token in &shares {
            for (logit, share) in logits.iter_mut().zip(token) {
                *logit += share;
            }
        }
        Ok((logits, shares))
    }
}

/// A linear head on the mean target state and the mean text state, side by side.
#[derive(Debug)]
pub struct PairHead {
    linear: Linear,
}

impl PairHead {
    /// Reads `NAME.weight` `[4, 2 * hidden]` and `NAME.bias` `[4]`.
    pub fn load(weights: &Weights, name: &str, hidden: usize) -> Result<Self, WeightsError> {
        let weight = weights.tensor(&format!("{name}.weight"), &[4, 2 * hidden])?;
        let bias = weights.tensor(&format!("{name}.bias"), &[4])?;
        Ok(Self {
            linear: Linear::new(weight, Some(bias)),
        })
    }

    /// The four logits from the states of the target segment and of the text, each `[tokens, hidden]`.
    pub fn apply(&self, target: &Tensor, text: &Tensor) -> Result<[f32; 4], candle_core::Error> {
        let pooled = Tensor::cat(&[target.mean(0)?, text.mean(0)?], 0)?.unsqueeze(0)?;
        let logits = self.linear.forward(&pooled)?.squeeze(0)?.to_vec1::<f32>()?;
        <[f32; 4]>::try_from(logits).map_err(|_| candle_core::Error::Msg("a stance head has four rows".to_owned()))
    }
}
