//! GGUF, the container of llama.cpp (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>), as far as an encoder of the
//! BERT family is stored in one.
//!
//! The header is read where it is mapped, never copied by a size that it claims: a hostile one runs out of file, not of
//! memory.

use std::ops::Range;

use safetensors::tensor::Dtype;

use super::form::Form;

/// A tensor as the header describes it, its bytes within the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    /// By Hugging Face's name.
    pub(super) name: String,
    pub(super) form: Form,
    /// Outermost dimension first, as everywhere but in GGML.
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
}

/// Where tensors begin if the file doesn't say.
const ALIGNMENT: u32 = 32;
/// Arrays of arrays, which nothing in use nests at all.
const DEEPEST: usize = 4;

/// The tensors of a whole file; the error is half a sentence.
pub(super) fn tensors(file: &[u8]) -> Result<Vec<Tensor>, String> {
    let mut cursor = Cursor { file, at: 0 };
    if cursor.take(4)? != b"GGUF" {
        return Err("it doesn't begin with GGUF".to_owned());
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        return Err(format!("version {version} is not read; 2 and 3 are, little-endian"));
    }
    let (tensors, entries) = (cursor.u64()?, cursor.u64()?);
    let mut alignment = ALIGNMENT;
    for _ in 0..entries {
        let key = cursor.string()?;
        let kind = cursor.u32()?;
        if key == "general.alignment" && kind == UINT32 {
            alignment = cursor.u32()?;
        } else {
            cursor.skip(kind, 0)?;
        }
    }
    if !alignment.is_power_of_two() {
        return Err(format!("an alignment of {alignment} is no power of two"));
    }
    // Each description takes 24 bytes at least, so the file's own length bounds how many there are.
    let mut described = Vec::new();
    for _ in 0..tensors {
        described.push(Described::read(&mut cursor)?);
    }
    let data = cursor.at.next_multiple_of(alignment as usize);
    described
        .into_iter()
        .map(|tensor| tensor.place(data, file.len()))
        .collect()
}

struct Described {
    name: String,
    form: Form,
    shape: Vec<usize>,
    offset: usize,
}

impl Described {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let name = cursor.string()?.to_owned();
        let dimensions = cursor.u32()?;
        if dimensions > 4 {
            return Err(format!("tensor {name} has {dimensions} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(cursor.size()?);
        }
        shape.reverse();
        // ggml_type
        let form = match cursor.u32()? {
            0 => Form::Plain(Dtype::F32),
            1 => Form::Plain(Dtype::F16),
            2 => Form::Q4_0,
            8 => Form::Q8_0,
            30 => Form::Plain(Dtype::BF16),
            other => {
                return Err(format!(
                    "tensor {name} is stored in GGML's type {other}; F32, F16, BF16, Q8_0 and Q4_0 are read, convert it to one of these"
                ));
            }
        };
        let offset = cursor.size()?;
        Ok(Self {
            name,
            form,
            shape,
            offset,
        })
    }

    fn place(self, data: usize, end: usize) -> Result<Tensor, String> {
        let Self {
            name,
            form,
            shape,
            offset,
        } = self;
        let bytes = shape.split_last().and_then(|(&columns, outer)| {
            let row = form.row_bytes(columns)?;
            outer.iter().try_fold(row, |bytes, &size| bytes.checked_mul(size))
        });
        // Nothing times too much is nothing, but who multiplies in another order overflows.
        let countable = shape
            .iter()
            .try_fold(1_usize, |count, &size| count.checked_mul(size.max(1)));
        let range = bytes.filter(|_| countable.is_some()).and_then(|bytes| {
            let begin = data.checked_add(offset)?;
            Some(begin..begin.checked_add(bytes)?)
        });
        match range {
            Some(range) if range.end <= end => Ok(Tensor {
                name: hugging_face_name(&name),
                form,
                shape,
                range,
            }),
            _ => Err(format!("tensor {name} of {form} {shape:?} doesn't lie within the file")),
        }
    }
}

/// Value types of the metadata.
const UINT32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Bytes of a value of a fixed size.
fn fixed_size(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        UINT32 | 5 | 6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(bytes);
        let taken = end.and_then(|end| self.file.get(self.at..end));
        let taken = taken.ok_or_else(|| format!("its header ends at byte {} of {}", self.at, self.file.len()))?;
        self.at += bytes;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize, String> {
        let size = self.u64()?;
        usize::try_from(size).map_err(|_| format!("a size of {size}"))
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let length = self.size()?;
        std::str::from_utf8(self.take(length)?).map_err(|error| format!("a name in its header: {error}"))
    }

    fn skip(&mut self, kind: u32, depth: usize) -> Result<(), String> {
        if let Some(bytes) = fixed_size(kind) {
            return self.take(bytes).map(drop);
        }
        match kind {
            // A token of the vocabulary that it may hold needn't be UTF-8.
            STRING => {
                let length = self.size()?;
                self.take(length).map(drop)
            }
            ARRAY if depth < DEEPEST => {
                let (of, count) = (self.u32()?, self.size()?);
                if let Some(bytes) = fixed_size(of) {
                    return self.take(bytes.saturating_mul(count)).map(drop);
                }
                (0..count).try_for_each(|_| self.skip(of, depth + 1))
            }
            _ => Err(format!("a value of type {kind} in its header")),
        }
    }
}

/// llama.cpp's names of a BERT's tensors, and those of transformers. Its classification head is RoBERTa's.
fn hugging_face_name(name: &str) -> String {
    let Some((stem, kind)) = name.rsplit_once('.') else {
        return name.to_owned();
    };
    let known = match stem {
        "token_embd" => Some("embeddings.word_embeddings".to_owned()),
        "position_embd" => Some("embeddings.position_embeddings".to_owned()),
        "token_types" => Some("embeddings.token_type_embeddings".to_owned()),
        "token_embd_norm" => Some("embeddings.LayerNorm".to_owned()),
        "cls" => Some("classifier.dense".to_owned()),
        "cls.output" => Some("classifier.out_proj".to_owned()),
        _ => stem.strip_prefix("blk.").and_then(|rest| {
            let (layer, part) = rest.split_once('.')?;
            let part = match part {
                "attn_q" => "attention.self.query",
                "attn_k" => "attention.self.key",
                "attn_v" => "attention.self.value",
                "attn_output" => "attention.output.dense",
                "attn_output_norm" => "attention.output.LayerNorm",
                "ffn_up" => "intermediate.dense",
                "ffn_down" => "output.dense",
                "layer_output_norm" => "output.LayerNorm",
                _ => return None,
            };
            Some(format!("encoder.layer.{layer}.{part}"))
        }),
    };
    known.map_or_else(|| name.to_owned(), |stem| format!("{stem}.{kind}"))
}
