//! tasnif (تصنيف, "classification") reads news articles in any language and says what they are about (topics, many at
//! once) and where they stand (stance toward given targets), with calibrated scores, on a plain CPU.
//!
//! # The way of an article
//!
//! ```text
//! http ─────┐
//!           ├─> registry ─> batcher ─> pipeline: prepare ─> read ─> conclude ─> verdict
//! commands ─┘             (tokenize, window)  (encode,  (calibrate)
//!                                              heads)
//! ```
//!
//! - [`article`]: [`article::Article`] in, [`article::Verdict`] out; the same in HTTP, on the command line and in files.
//! - [`http`]: routes, limits, and every error as one JSON shape.
//! - [`commands`]: `serve`, `classify`, `score`, `bench`, `models`, `key`, `health`.
//! - [`score`]: files in, files out, in order, in bounded memory, and on after a crash.
//! - [`hub`]: models from the Hugging Face hub into the models folder.
//! - [`registry`]: the models that are served, by name, version and alias; swapped without a failed request.
//! - [`batcher`]: a queue bounded in tokens; sequences of many articles become batches on the model's threads.
//! - [`pipeline`]: the one path of the service, the command line and the evaluation.
//! - [`model`]: a bundle on disk, checked and loaded; the heads.
//! - [`encoder`]: BERT and its kin, without padding: int8 on our own kernels, f32 on candle; the others on candle.
//! - `kernels`: int8 linear layers, attention, GELU, LayerNorm, by instruction set.
//! - [`weights`]: memory-mapped safetensors, int8 and 4-bit forms included.
//!
//! Dependencies point one way: `commands | http → registry → batcher → pipeline → model → encoder → kernels | weights`. [`article`] is a leaf;
//! [`config`] holds every flag and environment variable and is read by `main` and [`commands`] alone.

pub mod article;
pub mod batcher;
pub mod commands;
pub mod config;
pub mod encoder;
pub mod http;
pub mod hub;
#[expect(unsafe_code, reason = "vector intrinsics; each block says why it is sound")]
pub mod kernels;
pub mod model;
pub mod pipeline;
pub mod registry;
pub mod score;
pub mod telemetry;
pub mod weights;
