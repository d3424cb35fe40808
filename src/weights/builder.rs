//! The same tensors for candle's own models, which ask for theirs through a `VarBuilder`.

use std::sync::Arc;

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::Weights;

/// Tensors are read, expanded to f32 and checked as a model asks for them.
struct Backend(Arc<Weights>);

impl SimpleBackend for Backend {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.0.tensor(name, shape.dims()).map_err(Error::wrap)?;
        tensor.to_dtype(dtype)?.to_device(device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.0.shape(name).unwrap_or_default();
        self.get(shape.into(), name, Init::Const(0.0), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.shape(name).is_some()
    }
}

/// A builder of f32 tensors on the CPU.
pub fn var_builder(weights: &Arc<Weights>) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Backend(Arc::clone(weights))), DType::F32, Device::Cpu)
}
