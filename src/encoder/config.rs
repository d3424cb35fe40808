//! Hugging Face's config.json, as far as an encoder of the BERT family needs it.

use serde::Deserialize;

/// Why a config.json describes no encoder that is built here.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("not a Hugging Face model configuration: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "model_type {0:?} is not served; bert, roberta, xlm-roberta, camembert, distilbert, deberta-v2 and modernbert are"
    )]
    Architecture(String),
    #[error("hidden_act {0:?} is not served; gelu (the exact one, by erf) is")]
    Activation(String),
    #[error("position_embedding_type {0:?} is not served; absolute is")]
    Positions(String),
    #[error("{0}")]
    Dimensions(String),
}

/// The architecture that a config.json names.
pub fn model_type(json: &[u8]) -> Result<String, ConfigError> {
    #[derive(Deserialize)]
    struct Named {
        model_type: String,
    }
    let named: Named = serde_json::from_slice(json)?;
    Ok(named.model_type)
}

/// The shape of a BERT-like encoder. The aliases are DistilBERT's.
#[derive(Debug, Clone, Deserialize)]
pub struct BertConfig {
    pub model_type: String,
    pub vocab_size: usize,
    #[serde(alias = "dim")]
    pub hidden_size: usize,
    #[serde(alias = "n_layers")]
    pub num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    pub num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    #[serde(default = "one_token_type")]
    pub type_vocab_size: usize,
    #[serde(default = "bert_epsilon")]
    pub layer_norm_eps: f64,
    #[serde(default = "gelu", alias = "activation")]
    pub hidden_act: String,
    pub pad_token_id: Option<usize>,
    pub position_embedding_type: Option<String>,
}

fn one_token_type() -> usize {
    1
}

fn bert_epsilon() -> f64 {
    1e-12
}

fn gelu() -> String {
    "gelu".to_owned()
}

impl BertConfig {
    /// Reads and checks a config.json.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(json)?;
        if config.hidden_act != "gelu" {
            return Err(ConfigError::Activation(config.hidden_act));
        }
        if let Some(kind) = config.position_embedding_type.as_deref()
            && kind != "absolute"
        {
            return Err(ConfigError::Positions(kind.to_owned()));
        }
        let sizes = [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("type_vocab_size", config.type_vocab_size),
        ];
        // Every real encoder is far below; a size above is a damaged file, and would only overflow the products of sizes.
        const LARGEST: usize = 1 << 24;
        if let Some((name, size)) = sizes.into_iter().find(|(_, size)| !(1..=LARGEST).contains(size)) {
            return Err(ConfigError::Dimensions(format!("{name} is {size}")));
        }
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(ConfigError::Dimensions(format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                config.hidden_size, config.num_attention_heads
            )));
        }
        if config.first_position() >= config.max_position_embeddings {
            return Err(ConfigError::Dimensions(format!(
                "max_position_embeddings is {}",
                config.max_position_embeddings
            )));
        }
        Ok(config)
    }

    /// The position of a sequence's first token: RoBERTa and its kin count from behind the padding id.
    #[must_use]
    pub fn first_position(&self) -> usize {
        match self.model_type.as_str() {
            "bert" | "distilbert" => 0,
            _ => self.pad_token_id.unwrap_or(1).saturating_add(1),
        }
    }

    /// The longest sequence that has a position for each of its tokens.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }
}
