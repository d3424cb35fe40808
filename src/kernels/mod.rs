//! CPU kernels of the int8 encoder.
//!
//! * [`PackedLinear`], [`QuantizedRows`], [`linear()`]: int8 weights (one scale per output channel) times activations that
//!   are quantised on the fly, with bias, GELU or residual fused.
//! * [`attention()`], [`LayerNorm`], [`gelu()`]: the rest of a BERT layer, f32.
//! * [`Int8Layer`] with its [`Workspace`]: a whole layer without an allocation in the steady state; [`Lengths`] says how its
//!   rows make sequences.
//!
//! Everything is written once over the `Simd` trait; [`Isa`] says at run time what the CPU has. A new instruction set is one
//! file that implements `Simd`, one variant of [`Isa`] and one line of its `detect`, `supported` and `run`.
//!
//! Every function works on one thread: the service runs one batch per thread.

mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod amx_attention;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod generic;
mod layer;
mod lengths;
mod linear;
#[cfg(target_arch = "aarch64")]
mod neon;
mod norm;
mod pack;
mod quantise;
#[cfg(test)]
mod reference;
mod simd;
#[cfg(test)]
mod tests;

pub use activation::gelu;
pub use attention::{AttentionScratch, attention};
pub use layer::{Int8Layer, Int8Linear, LayerParts, Workspace};
pub use lengths::Lengths;
pub use linear::{Epilogue, linear};
pub use norm::LayerNorm;
pub use pack::PackedLinear;
pub use quantise::{QuantizedRows, outliers};

use simd::{Cut, Kernel, Simd};

/// An instruction set that this CPU has. The variants carry a proof of it, so that none can be made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    #[cfg(target_arch = "x86_64")]
    Amx(avx512::Avx512<amx::Amx>),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(avx512::Avx512<avx512::Vnni>),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(avx2::Avx2<avx2::Vnni>),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2<avx2::Pairs>),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    Portable(generic::Portable),
}

impl Isa {
    /// The fastest that this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        Self::supported().next().unwrap_or(Self::Portable(generic::Portable))
    }

    /// All that this CPU has, the fastest first.
    pub fn supported() -> impl Iterator<Item = Self> {
        let fast = [
            #[cfg(target_arch = "x86_64")]
            avx512::Avx512::<amx::Amx>::detect().map(Self::Amx),
            #[cfg(target_arch = "x86_64")]
            avx512::Avx512::<avx512::Vnni>::detect().map(Self::Avx512Vnni),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::<avx2::Vnni>::detect().map(Self::AvxVnni),
            #[cfg(target_arch = "x86_64")]
            avx2::Avx2::<avx2::Pairs>::detect().map(Self::Avx2),
            #[cfg(target_arch = "aarch64")]
            neon::Neon::detect().map(Self::Neon),
        ];
        fast.into_iter().flatten().chain([Self::Portable(generic::Portable)])
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx(_) => "amx",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(_) => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            Self::Portable(_) => "portable",
        }
    }

    fn cut(self) -> Cut {
        fn of<S: Simd>(_: S) -> Cut {
            S::CUT
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx(simd) => of(simd),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(simd) => of(simd),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(simd) => of(simd),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => of(simd),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => of(simd),
            Self::Portable(simd) => of(simd),
        }
    }

    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => simd.run(kernel),
            Self::Portable(simd) => simd.run(kernel),
        }
    }
}
