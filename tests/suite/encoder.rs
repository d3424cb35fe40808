//! The encoder against other implementations: transformers (golden files by scripts/make_tiny.py), layer by layer, and
//! candle-transformers on the real, shipped weights.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tasnif::encoder::{Bert, BertConfig, Encoder, EncoderError, Ids};
use tasnif::kernels::Lengths;
use tasnif::weights::Weights;

use super::common::{repository, shipped, texts};

fn load(dir: &str) -> Bert {
    let dir = repository(dir);
    let config = std::fs::read(dir.join("config.json")).expect("config.json");
    let config = BertConfig::parse(&config).expect("a BERT");
    Bert::load(config, &Weights::open(&dir).expect("weights")).expect("an encoder")
}

fn largest_difference(left: &Tensor, right: &Tensor) -> f32 {
    assert_eq!(left.dims(), right.dims());
    let difference = (left - right).and_then(|d| d.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>());
    difference.expect("two tensors of one shape")
}

/// A golden sequence: trunk and branches, and where its hidden states are.
struct Golden {
    name: String,
    trunk: Vec<u32>,
    branches: Vec<Vec<u32>>,
}

fn golden_sequences(tensors: &HashMap<String, Tensor>) -> Vec<Golden> {
    let ids = |name: String| -> Option<Vec<u32>> {
        let ids = tensors.get(&name)?;
        Some(ids.to_dtype(DType::U32).and_then(|ids| ids.to_vec1()).expect("ids"))
    };
    let plain = (0..).map_while(|index| {
        Some(Golden {
            trunk: ids(format!("seq{index}.input_ids"))?,
            branches: Vec::new(),
            name: format!("seq{index}"),
        })
    });
    let branched = (0..).map_while(|index| {
        let name = format!("branched{index}");
        let mut parts = (0..).map_while(|part| ids(format!("{name}.input_ids.{part}")));
        Some(Golden {
            trunk: parts.next()?,
            branches: parts.collect(),
            name: name.clone(),
        })
    });
    plain.chain(branched).collect()
}

#[test]
fn every_layer_agrees_with_transformers() {
    for model in ["bert", "xlm_roberta"] {
        let dir = format!("tests/data/encoder/{model}");
        let encoder = load(&dir);
        let golden = candle_core::safetensors::load(repository(&dir).join("golden.safetensors"), &Device::Cpu)
            .expect("golden tensors");
        let sequences = golden_sequences(&golden);
        assert!(sequences.len() >= 12, "{model}: {} sequences", sequences.len());
        let longest = |golden: &Golden| golden.trunk.len() + golden.branches.iter().map(Vec::len).max().unwrap_or(0);
        for branched in [false, true] {
            let kind = sequences.iter().filter(|golden| golden.branches.is_empty() != branched);
            assert_eq!(kind.map(longest).max(), Some(encoder.config().max_tokens()), "{model}");
        }

        // All in one batch, so that a sequence that saw its neighbours would show.
        let batch: Vec<Ids> = sequences
            .iter()
            .map(|golden| Ids {
                trunk: &golden.trunk,
                second: usize::MAX,
                branches: &golden.branches,
            })
            .collect();
        let lengths: Vec<Lengths> = batch.iter().map(Ids::lengths).collect();
        let mut states = encoder.embed(&batch).expect("embeddings");
        for layer in 0..=encoder.layers().len() {
            if layer > 0 {
                states = encoder.layers()[layer - 1].forward(&states, &lengths).expect("a layer");
            }
            let mut first = 0;
            for (sequence, lengths) in sequences.iter().zip(&lengths) {
                let name = format!("{}.hidden.{layer}", sequence.name);
                let own = states.narrow(0, first, lengths.total()).expect("rows");
                let difference = largest_difference(&own, &golden[&name]);
                assert!(difference <= 1e-4, "{model}, {name}: {difference}");
                first += lengths.total();
            }
        }
        assert_eq!(
            largest_difference(&states, &encoder.encode(&batch).expect("all layers")),
            0.0
        );
    }
}

#[test]
fn shipped_weights_agree_with_candle_transformers() {
    let pipeline = shipped();
    let encoder = load("models/default");
    let oracle = oracle();
    for text in texts() {
        let prepared = pipeline.prepare(&super::common::text(&text)).expect("a good article");
        let ids = &prepared.sequences[0].ids;
        let ours = encoder
            .encode(&[Ids::from(ids.as_slice())])
            .and_then(|states| Ok(states.mean(0)?))
            .expect("ours");
        let input = Tensor::new(ids.as_slice(), &Device::Cpu)
            .and_then(|ids| ids.unsqueeze(0))
            .expect("ids");
        let types = input.zeros_like().expect("types");
        let theirs = oracle
            .forward(&input, &types, None)
            .and_then(|states| states.squeeze(0)?.mean(0))
            .expect("theirs");
        let difference = largest_difference(&ours, &theirs);
        assert!(difference <= 1e-4, "{} tokens: {difference}", ids.len());
    }
}

/// candle-transformers' BERT on the tensors of models/default, expanded to f32.
fn oracle() -> BertModel {
    let dir = repository("models/default");
    let json = std::fs::read(dir.join("config.json")).expect("config.json");
    let config: Config = serde_json::from_slice(&json).expect("candle's config");
    let ours = BertConfig::parse(&json).expect("our config");
    let weights = Weights::open(&dir).expect("weights");
    let (hidden, wide) = (ours.hidden_size, ours.intermediate_size);

    let mut tensors = HashMap::new();
    let mut take = |name: String, shape: &[usize]| {
        let tensor = weights.tensor(&name, shape).expect("a tensor");
        tensors.insert(name, tensor);
    };
    take(
        "embeddings.position_embeddings.weight".into(),
        &[ours.max_position_embeddings, hidden],
    );
    take(
        "embeddings.token_type_embeddings.weight".into(),
        &[ours.type_vocab_size, hidden],
    );
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in 0..ours.num_hidden_layers {
        let layer = format!("encoder.layer.{layer}");
        for (name, inputs, outputs) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", hidden, wide),
            ("output.dense", wide, hidden),
        ] {
            take(format!("{layer}.{name}.weight"), &[outputs, inputs]);
            take(format!("{layer}.{name}.bias"), &[outputs]);
        }
        norms.push(format!("{layer}.attention.output.LayerNorm"));
        norms.push(format!("{layer}.output.LayerNorm"));
    }
    for norm in norms {
        take(format!("{norm}.weight"), &[hidden]);
        take(format!("{norm}.bias"), &[hidden]);
    }
    let rows = weights
        .rows("embeddings.word_embeddings.weight", ours.vocab_size, hidden)
        .expect("word embeddings");
    let mut words = Vec::with_capacity(rows.len() * hidden);
    for row in 0..rows.len() {
        assert!(rows.extend(row, &mut words));
    }
    let words = Tensor::from_vec(words, (rows.len(), hidden), &Device::Cpu).expect("a table");
    tensors.insert("embeddings.word_embeddings.weight".to_owned(), words);
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    BertModel::load(builder, &config).expect("candle's BERT")
}

#[test]
fn what_does_not_fit_is_an_error() {
    let encoder = load("tests/data/encoder/xlm_roberta");
    let max = encoder.config().max_tokens();
    let rows = encoder.config().vocab_size;
    let too_long =
        |ids: Ids| matches!(encoder.encode(&[ids]), Err(EncoderError::TooLong { length, .. }) if length == max + 1);
    let long = vec![5; max + 1];
    assert!(too_long(Ids::from(long.as_slice())));
    let (trunk, branches) = (&long[..max - 2], [vec![5; 2], vec![5; 3]]);
    assert!(too_long(Ids {
        trunk,
        second: usize::MAX,
        branches: &branches
    }));
    let foreign = [0, u32::try_from(rows).expect("a small table")];
    let outcome = encoder.encode(&[Ids::from(&foreign[..])]);
    assert!(matches!(outcome, Err(EncoderError::TokenId { id, .. }) if id as usize == rows));
}
