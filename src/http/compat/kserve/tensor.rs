//! Tensors as bytes: the binary data extension of the Open Inference Protocol.
//!
//! A body is a JSON head, whose length a header tells, and behind it the data of those tensors that name their
//! `binary_data_size`, in their order. A `BYTES` element is a little-endian u32 and as many bytes; `FP32` is little-endian.
//! All functions are pure, borrow from the body, and take no more memory than their limits say.

/// What is wrong with binary tensor data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TensorError {
    #[error("the JSON head is announced with {head} bytes, but the body has {body}")]
    Head { head: usize, body: usize },
    #[error("binary_data_size is {announced}, but {left} bytes are left in the body")]
    Short { announced: usize, left: usize },
    #[error("{0} bytes behind the last tensor")]
    Rest(usize),
    #[error("element {index} of the binary data is cut off")]
    Cut { index: usize },
    #[error("element {index} of the binary data is not UTF-8")]
    NotUtf8 { index: usize },
    #[error("more than {0} elements")]
    TooMany(usize),
}

/// A body's JSON head and its binary data; without an announced length all of it is JSON.
pub(super) fn split(body: &[u8], head: Option<usize>) -> Result<(&[u8], &[u8]), TensorError> {
    let head = head.unwrap_or(body.len());
    body.split_at_checked(head)
        .ok_or(TensorError::Head { head, body: body.len() })
}

/// Takes the next tensor's `size` bytes from the data.
pub(super) fn take<'a>(data: &mut &'a [u8], size: usize) -> Result<&'a [u8], TensorError> {
    let (tensor, rest) = data.split_at_checked(size).ok_or(TensorError::Short {
        announced: size,
        left: data.len(),
    })?;
    *data = rest;
    Ok(tensor)
}

/// The elements of a `BYTES` tensor, at most `limit`.
pub(super) fn strings(mut data: &[u8], limit: usize) -> Result<Vec<&str>, TensorError> {
    let mut strings = Vec::new();
    while !data.is_empty() {
        let index = strings.len();
        if index == limit {
            return Err(TensorError::TooMany(limit));
        }
        let (length, rest) = data.split_first_chunk().ok_or(TensorError::Cut { index })?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (element, rest) = rest.split_at_checked(length).ok_or(TensorError::Cut { index })?;
        strings.push(std::str::from_utf8(element).map_err(|_| TensorError::NotUtf8 { index })?);
        data = rest;
    }
    Ok(strings)
}

/// The inverse of [`strings`].
pub(super) fn string_bytes<S: AsRef<str>>(strings: &[S]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for string in strings {
        let string = string.as_ref();
        bytes.extend(u32::try_from(string.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(string.as_bytes());
    }
    bytes
}

pub(super) fn float_bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_cut_or_too_long_is_told() {
        let two = string_bytes(&["ab", "ع"]);
        assert_eq!(strings(&two, 2), Ok(vec!["ab", "ع"]));
        assert_eq!(strings(&two, 1), Err(TensorError::TooMany(1)));
        assert_eq!(strings(&two[..two.len() - 1], 2), Err(TensorError::Cut { index: 1 }));
        assert_eq!(strings(&two[..8], 2), Err(TensorError::Cut { index: 1 }));
        assert_eq!(
            strings(&[0xff, 0xff, 0xff, 0xff, b'x'], 9),
            Err(TensorError::Cut { index: 0 })
        );
        assert_eq!(strings(&[1, 0, 0, 0, 0xff], 9), Err(TensorError::NotUtf8 { index: 0 }));
        assert_eq!(split(b"{}", Some(3)), Err(TensorError::Head { head: 3, body: 2 }));
        let mut data = b"abc".as_slice();
        assert_eq!(take(&mut data, 2), Ok(b"ab".as_slice()));
        assert_eq!(take(&mut data, 2), Err(TensorError::Short { announced: 2, left: 1 }));
    }

    proptest! {
        #[test]
        fn strings_come_back(given in prop::collection::vec(".{0,20}", 0..10)) {
            let bytes = string_bytes(&given);
            prop_assert_eq!(strings(&bytes, given.len()), Ok(given.iter().map(String::as_str).collect()));
        }

        /// Whatever the bytes, an answer, and never more elements than the limit or the bytes allow.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), limit in 0_usize..8, head in any::<Option<usize>>()) {
            if let Ok(strings) = strings(&bytes, limit) {
                prop_assert!(strings.len() <= limit);
                prop_assert_eq!(string_bytes(&strings), bytes.clone());
            }
            if let Ok((head, data)) = split(&bytes, head) {
                prop_assert_eq!([head, data].concat(), bytes);
            }
        }
    }
}
