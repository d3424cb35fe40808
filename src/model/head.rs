//! The heads on the encoder's hidden states: what turns one sequence into logits.

use std::ops::Range;

use candle_core::{Module, Tensor};
use candle_nn::{LayerNorm, Linear};

use super::hugging_face::{Activation, ClassifierShape, Pooling};
use crate::weights::{Weights, WeightsError};

/// What a head says of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// One a label.
    pub logits: Vec<f32>,
    /// Each text token's share of each logit; `None` where the head is no sum over tokens.
    pub shares: Option<Vec<Vec<f32>>>,
}

/// A head over labels.
#[derive(Debug)]
pub enum Head {
    Mean(MeanHead),
    Classifier(Classifier),
}

impl Head {
    /// `states` `[tokens, hidden]` of one sequence, of which `text` are the text proper.
    pub fn apply(&self, states: &Tensor, text: &Range<usize>) -> Result<Logits, candle_core::Error> {
        match self {
            Self::Mean(head) => head.apply(&states.narrow(0, text.start, text.len())?),
            Self::Classifier(head) => Ok(Logits {
                logits: head.apply(states)?,
                shares: None,
            }),
        }
    }
}

/// A linear head on mean-pooled states. Linear and mean commute, so the head is applied to each token and the mean taken
/// afterwards: a token's row, divided by their number, is its exact share of the logit.
#[derive(Debug)]
pub struct MeanHead {
    linear: Linear,
    bias: Vec<f32>,
}

impl MeanHead {
    /// Reads `NAME.weight` `[labels, hidden]` and `NAME.bias` `[labels]`.
    pub fn load(weights: &Weights, name: &str, hidden: usize, labels: usize) -> Result<Self, WeightsError> {
        let weight = weights.tensor(&format!("{name}.weight"), &[labels, hidden])?;
        let bias = weights.tensor(&format!("{name}.bias"), &[labels])?.to_vec1()?;
        Ok(Self {
            linear: Linear::new(weight, None),
            bias,
        })
    }

    fn apply(&self, states: &Tensor) -> Result<Logits, candle_core::Error> {
        let tokens = states.dim(0)?;
        let shares: Vec<Vec<f32>> = (self.linear.forward(states)? / tokens as f64)?.to_vec2()?;
        let mut logits = self.bias.clone();
        for token in &shares {
            for (logit, share) in logits.iter_mut().zip(token) {
                *logit += share;
            }
        }
        Ok(Logits {
            logits,
            shares: Some(shares),
        })
    }
}

/// Hugging Face's sequence classification head: a pooled state through a dense layer, its activation, perhaps a norm, and a
/// linear layer.
#[derive(Debug)]
pub struct Classifier {
    shape: ClassifierShape,
    dense: Linear,
    norm: Option<LayerNorm>,
    output: Linear,
}

impl Classifier {
    /// Reads the tensors that `shape` names.
    pub fn load(weights: &Weights, shape: ClassifierShape, hidden: usize, labels: usize) -> Result<Self, WeightsError> {
        let linear = |name: &str, outputs: usize| -> Result<Linear, WeightsError> {
            let weight = weights.tensor(&format!("{name}.weight"), &[outputs, hidden])?;
            let bias = format!("{name}.bias");
            let bias = weights
                .shape(&bias)
                .map(|_| weights.tensor(&bias, &[outputs]))
                .transpose()?;
            Ok(Linear::new(weight, bias))
        };
        let norm = shape
            .norm
            .map(|name| -> Result<LayerNorm, WeightsError> {
                let weight = weights.tensor(&format!("{name}.weight"), &[hidden])?;
                Ok(LayerNorm::new_no_bias(weight, shape.norm_epsilon))
            })
            .transpose()?;
        Ok(Self {
            dense: linear(shape.dense, hidden)?,
            output: linear(shape.output, labels)?,
            norm,
            shape,
        })
    }

    /// The logits from all states of one sequence.
    pub(super) fn apply(&self, states: &Tensor) -> Result<Vec<f32>, candle_core::Error> {
        let pooled = match self.shape.pooling {
            Pooling::First => states.narrow(0, 0, 1)?,
            Pooling::Mean => states.mean_keepdim(0)?,
        };
        let dense = self.dense.forward(&pooled)?;
        let mut state = match self.shape.activation {
            Activation::Tanh => dense.tanh()?,
            Activation::Relu => dense.relu()?,
            Activation::Gelu => dense.gelu_erf()?,
        };
        if let Some(norm) = &self.norm {
            state = norm.forward(&state)?;
        }
        self.output.forward(&state)?.squeeze(0)?.to_vec1()
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

    /// Four logits for each target from the states of a sequence: `targets` are the rows of each, `text` the text proper. One
    /// product a target, so that none depends on how many there are.
    pub fn apply<'a>(
        &self,
        states: &Tensor,
        targets: impl Iterator<Item = &'a Range<usize>>,
        text: &Range<usize>,
    ) -> Result<Vec<[f32; 4]>, candle_core::Error> {
        let mean = |rows: &Range<usize>| states.narrow(0, rows.start, rows.len())?.mean(0);
        let text = mean(text)?;
        let logits = targets.map(|target| {
            let pooled = Tensor::cat(&[&mean(target)?, &text], 0)?.unsqueeze(0)?;
            let logits = self.linear.forward(&pooled)?.squeeze(0)?.to_vec1::<f32>()?;
            <[f32; 4]>::try_from(logits).map_err(|_| candle_core::Error::Msg("a stance head has four rows".to_owned()))
        });
        logits.collect()
    }
}
