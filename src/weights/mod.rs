//! Tensors of a bundle: memory-mapped safetensors or GGUF, found by name.
//!
//! Everything that is read from disk as numbers passes through here: the plain dtypes (F32, F16, BF16) and the two compact
//! forms of the bundle format (models/README.md): int8 rows with one scale each, and GGML's 4-bit `Q4_0` blocks.
//! A pickle can run code, so no other container is opened.

mod builder;
mod form;
mod gguf;
mod int8;
mod mapped;
mod rows;
mod shared;
mod trim;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors};

pub use builder::var_builder;
pub use form::Form;
pub use int8::Int8Rows;
pub use rows::Rows;
pub use shared::Shared;
pub use trim::{Trim, share_arenas, trim};

use mapped::Mapped;

/// Suffixes of the compact forms.
const INT8_SCALE: &str = "_scale";
const Q4_0: &str = ".q4_0";

/// Hugging Face classes nest the encoder under the name of its architecture; bundles may carry any of these or none.
const PREFIXES: [&str; 6] = ["bert.", "roberta.", "xlm_roberta.", "distilbert.", "deberta.", "model."];

fn plain_name(name: &str) -> &str {
    PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// Why the weights of a bundle can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("{path}: can't be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: not a complete safetensors file ({source}); fetch or export it again", path = path.display())]
    Malformed {
        path: PathBuf,
        source: safetensors::SafeTensorError,
    },
    #[error("{path}: not a GGUF file that is read: {message}", path = path.display())]
    Gguf { path: PathBuf, message: String },
    #[error(
        "{dir}: no *.safetensors or *.gguf file; pickles are not opened (save a pickled checkpoint with \
         `model.save_pretrained(dir, safe_serialization=True)`)",
        dir = dir.display()
    )]
    None { dir: PathBuf },
    #[error("tensor {name} is in {first} and again in {second}; remove one of the files", first = first.display(), second = second.display())]
    Twice {
        name: String,
        first: PathBuf,
        second: PathBuf,
    },
    #[error("tensor {name} is in no weights file of {dir}; the weights don't fit config.json or tasnif.toml", dir = dir.display())]
    Absent { name: String, dir: PathBuf },
    #[error("{path}: tensor {name} has shape {found:?}, {expected:?} was expected from config.json and tasnif.toml", path = path.display())]
    Shape {
        path: PathBuf,
        name: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error("{path}: tensor {name} has dtype {found}; F32, F16 and BF16 are read, I8 with a {name}{INT8_SCALE} beside it", path = path.display())]
    Dtype { path: PathBuf, name: String, found: Form },
    #[error("{path}: tensor {name} holds a NaN or an infinity; the file is damaged or the training diverged", path = path.display())]
    NotFinite { path: PathBuf, name: String },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Where a tensor lies.
#[derive(Debug, Clone)]
struct Entry {
    file: usize,
    form: Form,
    shape: Vec<usize>,
    range: std::ops::Range<usize>,
}

/// All safetensors and GGUF files of a directory, merged by tensor name.
#[derive(Debug)]
pub struct Weights {
    dir: PathBuf,
    files: Vec<Arc<Mapped>>,
    /// Files with the sha256 that they are said to have.
    said: Vec<(Arc<Mapped>, String)>,
    entries: HashMap<String, Entry>,
}

impl Weights {
    /// Maps every `*.safetensors` and `*.gguf` of `dir`. Headers are validated against the size of their files; no tensor is
    /// read yet.
    pub fn open(dir: &Path) -> Result<Self, WeightsError> {
        Self::open_known(dir, &BTreeMap::new())
    }

    /// The same with the sha256 that files are said to have, by their names: one that is mapped already is not mapped again.
    /// The caller checks the files themselves, and calls [`Weights::share`] if they are what they are said to be.
    pub fn open_known(dir: &Path, sha256: &BTreeMap<String, String>) -> Result<Self, WeightsError> {
        let unreadable = |source| WeightsError::Unreadable {
            path: dir.to_path_buf(),
            source,
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let extension = path.extension().and_then(OsStr::to_str);
            if matches!(extension, Some("safetensors" | "gguf")) {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(WeightsError::None { dir: dir.to_path_buf() });
        }
        paths.sort();

        let mut weights = Self {
            dir: dir.to_path_buf(),
            files: Vec::new(),
            said: Vec::new(),
            entries: HashMap::new(),
        };
        for path in paths {
            let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
            let sha256 = sha256.get(&*name);
            let mapped = Mapped::open(path.clone(), sha256.map(String::as_str))?;
            weights
                .said
                .extend(sha256.map(|sha256| (Arc::clone(&mapped), sha256.clone())));
            if path.extension().is_some_and(|extension| extension == "gguf") {
                weights.add_gguf(&path, &mapped)?;
            } else {
                weights.add_safetensors(&path, &mapped)?;
            }
            weights.files.push(mapped);
        }
        Ok(weights)
    }

    /// Lets other bundles find these files by the sha256 that they are said to have, and do.
    pub fn share(&self) {
        for (file, sha256) in &self.said {
            file.share(sha256);
        }
    }

    fn add_gguf(&mut self, path: &Path, mapped: &Mapped) -> Result<(), WeightsError> {
        let tensors = gguf::tensors(mapped.bytes()).map_err(|message| WeightsError::Gguf {
            path: path.to_path_buf(),
            message,
        })?;
        for tensor in tensors {
            let entry = Entry {
                file: self.files.len(),
                form: tensor.form,
                shape: tensor.shape,
                range: tensor.range,
            };
            self.insert(path, &tensor.name, entry)?;
        }
        Ok(())
    }

    fn add_safetensors(&mut self, path: &Path, mapped: &Mapped) -> Result<(), WeightsError> {
        let (header, metadata) =
            SafeTensors::read_metadata(mapped.bytes()).map_err(|source| WeightsError::Malformed {
                path: path.to_path_buf(),
                source,
            })?;
        // The data section begins behind the 8-byte length and the header itself.
        let data = header + 8;
        for (name, info) in metadata.tensors() {
            let (begin, end) = info.data_offsets;
            let entry = Entry {
                file: self.files.len(),
                form: Form::Plain(info.dtype),
                shape: info.shape.clone(),
                range: data + begin..data + end,
            };
            self.insert(path, &name, entry)?;
        }
        Ok(())
    }

    fn insert(&mut self, path: &Path, name: &str, entry: Entry) -> Result<(), WeightsError> {
        let name = plain_name(name).to_owned();
        let Some(first) = self.entries.insert(name.clone(), entry) else {
            return Ok(());
        };
        let first = self.files.get(first.file).map_or(path, |file| file.path());
        Err(WeightsError::Twice {
            name,
            first: first.to_path_buf(),
            second: path.to_path_buf(),
        })
    }

    /// The directory that the files were found in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The shape of the tensor `name`, if there is one.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.entries.get(plain_name(name))?.shape.clone())
    }

    /// The tensor `name` as f32, with the compact forms expanded.
    ///
    /// # Errors
    /// Absent, of another shape, of a dtype that is not read, or with a value that is not finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, WeightsError> {
        Ok(Tensor::from_vec(self.values(name, shape)?, shape, &Device::Cpu)?)
    }

    /// The same as plain values, in row-major order.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let (entry, file) = self.entry(name, shape)?;
        let values = match entry.form {
            Form::Plain(Dtype::I8) => self.stored_int8(name, entry, file)?.expand(),
            _ => self.floats(name, entry, file)?,
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Self::not_finite(name, file));
        }
        Ok(values)
    }

    /// A matrix in int8 with a scale a row: as it is stored, or quantised here.
    pub fn int8(&self, name: &str, rows: usize, columns: usize) -> Result<Int8Rows, WeightsError> {
        let (entry, file) = self.entry(name, &[rows, columns])?;
        if entry.form != Form::Plain(Dtype::I8) {
            return Ok(Int8Rows::quantise(&self.values(name, &[rows, columns])?, columns));
        }
        let stored = self.stored_int8(name, entry, file)?;
        if stored.scales.iter().any(|scale| !scale.is_finite()) {
            return Err(Self::not_finite(name, file));
        }
        Ok(stored)
    }

    /// A table whose rows are read one at a time and stay where they are mapped: the word embeddings.
    pub fn rows(&self, name: &str, rows: usize, columns: usize) -> Result<Rows, WeightsError> {
        let packed = format!("{name}{Q4_0}");
        if let Some(bytes) = Form::Q4_0
            .row_bytes(columns)
            .filter(|_| self.entries.contains_key(&packed))
        {
            let (entry, file) = self.entry(&packed, &[rows, bytes])?;
            if entry.form != Form::Plain(Dtype::U8) {
                return Err(Self::wrong_dtype(&packed, entry, file));
            }
            return Ok(Rows::new(file.clone(), entry.range.clone(), columns, Form::Q4_0));
        }
        let (entry, file) = self.entry(name, &[rows, columns])?;
        if !entry.form.is_read() {
            return Err(Self::wrong_dtype(name, entry, file));
        }
        Ok(Rows::new(file.clone(), entry.range.clone(), columns, entry.form))
    }

    fn entry(&self, name: &str, shape: &[usize]) -> Result<(&Entry, &Arc<Mapped>), WeightsError> {
        let found = self
            .entries
            .get(plain_name(name))
            .and_then(|entry| Some((entry, self.files.get(entry.file)?)));
        let (entry, file) = found.ok_or_else(|| WeightsError::Absent {
            name: name.to_owned(),
            dir: self.dir.clone(),
        })?;
        if entry.shape != shape {
            return Err(WeightsError::Shape {
                path: file.path().to_path_buf(),
                name: name.to_owned(),
                found: entry.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok((entry, file))
    }

    fn floats(&self, name: &str, entry: &Entry, file: &Mapped) -> Result<Vec<f32>, WeightsError> {
        let mut values = Vec::with_capacity(entry.shape.iter().product());
        if entry.form.extend(file.slice(&entry.range), &mut values) {
            Ok(values)
        } else {
            Err(Self::wrong_dtype(name, entry, file))
        }
    }

    fn stored_int8(&self, name: &str, entry: &Entry, file: &Mapped) -> Result<Int8Rows, WeightsError> {
        let &[rows, columns] = entry.shape.as_slice() else {
            return Err(Self::wrong_dtype(name, entry, file));
        };
        let scale_name = format!("{name}{INT8_SCALE}");
        let (scale_entry, scale_file) = self.entry(&scale_name, &[rows])?;
        let scales = self.floats(&scale_name, scale_entry, scale_file)?;
        let values = file.slice(&entry.range).iter().map(|byte| byte.cast_signed()).collect();
        Ok(Int8Rows {
            values,
            scales,
            columns,
        })
    }

    fn not_finite(name: &str, file: &Mapped) -> WeightsError {
        WeightsError::NotFinite {
            path: file.path().to_path_buf(),
            name: name.to_owned(),
        }
    }

    fn wrong_dtype(name: &str, entry: &Entry, file: &Mapped) -> WeightsError {
        WeightsError::Dtype {
            path: file.path().to_path_buf(),
            name: name.to_owned(),
            found: entry.form,
        }
    }
}
