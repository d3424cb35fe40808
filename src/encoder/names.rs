//! What transformers calls the tensors of a post-norm layer, by architecture.

/// Names below the layer's own prefix, without `.weight` and `.bias`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) layers: &'static str,
    pub(super) query_key_value: [&'static str; 3],
    pub(super) attention_output: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) intermediate: &'static str,
    pub(super) output: &'static str,
    pub(super) output_norm: &'static str,
    /// `None` where tokens have no type.
    pub(super) token_types: Option<&'static str>,
}

const BERT: Names = Names {
    layers: "encoder.layer",
    query_key_value: ["attention.self.query", "attention.self.key", "attention.self.value"],
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    intermediate: "intermediate.dense",
    output: "output.dense",
    output_norm: "output.LayerNorm",
    token_types: Some("embeddings.token_type_embeddings.weight"),
};

/// The same layers as BERT's (Sanh et al. 2019) under other names, and no token types.
const DISTILBERT: Names = Names {
    layers: "transformer.layer",
    query_key_value: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    intermediate: "ffn.lin1",
    output: "ffn.lin2",
    output_norm: "output_layer_norm",
    token_types: None,
};

impl Names {
    pub(super) fn of(model_type: &str) -> Self {
        match model_type {
            "distilbert" => DISTILBERT,
            _ => BERT,
        }
    }
}
