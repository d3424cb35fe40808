//! A look at Parquet's pages before the parquet crate decodes them. The delta encodings of strings begin with how many
//! lengths follow, and the crate makes room for as many as that says: a damaged file could ask for more memory than there
//! is, which ends a process instead of giving an error.
//!
//! The layout: <https://parquet.apache.org/docs/file-format/data-pages/encodings/>, "Delta encoding" to "Delta strings".

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescPtr;

/// The most strings of a page. Writers end a page at 1 MB or 20,000 rows; the lengths of so many take 64 MB.
const MOST: u64 = 1 << 24;

/// The pages of a column, none of which promises more strings than it can have.
pub(super) struct Plausible {
    pages: Box<dyn PageReader>,
    column: ColumnDescPtr,
}

impl Plausible {
    pub(super) fn new(pages: Box<dyn PageReader>, column: ColumnDescPtr) -> Self {
        Self { pages, column }
    }
}

impl Iterator for Plausible {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Plausible {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        if let Some(page) = &page {
            check(page, &self.column)?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.pages.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        self.pages.take_deferred_dictionary()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

fn check(page: &Page, column: &ColumnDescPtr) -> Result<()> {
    let runs = runs_of_lengths(page.encoding());
    if runs == 0 {
        return Ok(());
    }
    let promised = || ParquetError::General("a page promises more strings than it can hold".to_owned());
    let mut rest = values(page, column).ok_or_else(promised)?;
    for _ in 0..runs {
        let (count, end) = delta_run(rest).ok_or_else(promised)?;
        if count > MOST.min(u64::from(page.num_values())) {
            return Err(promised());
        }
        rest = rest.get(end..).ok_or_else(promised)?;
    }
    Ok(())
}

fn runs_of_lengths(encoding: Encoding) -> usize {
    match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        // Lengths of the prefixes that strings share with those before, then lengths of the rest.
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => 0,
    }
}

/// What stands behind a page's levels.
fn values<'a>(page: &'a Page, column: &ColumnDescPtr) -> Option<&'a [u8]> {
    match page {
        Page::DataPage {
            buf,
            num_values,
            def_level_encoding,
            rep_level_encoding,
            ..
        } => {
            let levels = [
                (column.max_rep_level(), *rep_level_encoding),
                (column.max_def_level(), *def_level_encoding),
            ];
            let mut rest = &buf[..];
            for (most, encoding) in levels.into_iter().filter(|&(most, _)| most > 0) {
                let length = if encoding == Encoding::RLE {
                    4 + u32::from_le_bytes(*rest.first_chunk()?) as usize
                } else {
                    // Of the deprecated BIT_PACKED: as many bits a level as the greatest takes.
                    let bits = u64::from(i16::BITS - most.leading_zeros());
                    usize::try_from((u64::from(*num_values) * bits).div_ceil(8)).ok()?
                };
                rest = rest.get(length..)?;
            }
            Some(rest)
        }
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => buf
            .get(*def_levels_byte_len as usize..)?
            .get(*rep_levels_byte_len as usize..),
        Page::DictionaryPage { buf, .. } => Some(buf),
    }
}

/// How many values a run of DELTA_BINARY_PACKED says it has, and where it ends; none where it breaks off.
fn delta_run(run: &[u8]) -> Option<(u64, usize)> {
    let mut at = 0;
    let (block, miniblocks, count) = (varint(run, &mut at)?, varint(run, &mut at)?, varint(run, &mut at)?);
    let _first = varint(run, &mut at)?;
    if count > MOST {
        // Refused for that; where it ends doesn't matter.
        return Some((count, run.len()));
    }
    let of_miniblock = block.checked_div(miniblocks).filter(|&values| values > 0)?;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let _least = varint(run, &mut at)?;
        let widths = run.get(at..at.checked_add(usize::try_from(miniblocks).ok()?)?)?;
        at += widths.len();
        for &width in widths {
            // Miniblocks behind the last value are left out, whatever their width says.
            if left > 0 {
                at = at.checked_add(usize::try_from(u64::from(width).checked_mul(of_miniblock)?.div_ceil(8)).ok()?)?;
            }
            left = left.saturating_sub(of_miniblock);
        }
    }
    (at <= run.len()).then_some((count, at))
}

/// An unsigned LEB128 number.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// A file of one column with strings, nulls and lists, all in one encoding.
    fn file(encoding: Encoding, version: WriterVersion) -> Result<(Bytes, usize)> {
        let message = "message m { repeated binary text (UTF8); }";
        let properties = WriterProperties::builder()
            .set_writer_version(version)
            .set_dictionary_enabled(false)
            .set_encoding(encoding)
            .set_data_page_row_count_limit(300)
            .set_write_batch_size(100)
            .build();
        let mut file = Vec::new();
        let schema = Arc::new(parse_message_type(message)?);
        let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        let values: Vec<ByteArray> = (0..1000_usize)
            .map(|i| ("common ".repeat(i % 3) + &"x".repeat(i * 37 % 91)).as_str().into())
            .collect();
        // Every fifth row has nothing, the others two strings each.
        let rows = || {
            (0..625).flat_map(|row| {
                if row % 5 == 0 {
                    &[(0, 0)][..]
                } else {
                    &[(1, 0), (1, 1)][..]
                }
            })
        };
        let definitions: Vec<i16> = rows().map(|&(definition, _)| definition).collect();
        let repetitions: Vec<i16> = rows().map(|&(_, repetition)| repetition).collect();
        if let Some(mut column) = group.next_column()? {
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, Some(&definitions), Some(&repetitions))?;
            column.close()?;
        }
        group.close()?;
        writer.close()?;
        Ok((file.into(), values.len()))
    }

    #[test]
    fn pages_that_are_whole_pass() -> Result<()> {
        for encoding in [
            Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Encoding::DELTA_BYTE_ARRAY,
            Encoding::PLAIN,
        ] {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                let (file, strings) = file(encoding, version)?;
                let file = SerializedFileReader::new(file)?;
                let group = file.get_row_group(0)?;
                let column = file.metadata().file_metadata().schema_descr().column(0);
                let mut pages = Plausible::new(group.get_column_page_reader(0)?, column.clone());
                let mut found = 0;
                while let Some(page) = pages.get_next_page()? {
                    assert_eq!(page.encoding(), encoding);
                    found += 1;
                    if encoding == Encoding::PLAIN {
                        continue;
                    }
                    // The last run ends where the strings begin: the walk over the levels and runs before it was right.
                    let mut rest = values(&page, &column).unwrap_or_default();
                    for _ in 0..runs_of_lengths(encoding) {
                        let (count, end) = delta_run(rest).unwrap_or_default();
                        assert!(0 < count && count < strings as u64, "{encoding} {version:?}: {count}");
                        rest = &rest[end..];
                    }
                    assert!(
                        rest.iter().all(|byte| b"common x".contains(byte)),
                        "{encoding} {version:?}"
                    );
                }
                assert!(found > 1, "{encoding} {version:?}: {found} pages");
            }
        }
        Ok(())
    }

    /// Lengths 5, 5, … of `count` strings: one block of 128 in 4 miniblocks, of no bits.
    fn equal(count: u8) -> Vec<u8> {
        vec![0x80, 1, 4, count, 10, 0, 0, 0, 0, 0]
    }

    #[test]
    fn a_run_ends_behind_the_miniblocks_that_it_uses() {
        assert_eq!(delta_run(&equal(100)), Some((100, 10)));
        // One value has no block.
        assert_eq!(delta_run(&equal(1)), Some((1, 5)));
        // 33 deltas use two miniblocks: 32 of 1 bit, 32 of 2 bits; the third's width is never looked at.
        let mut two = vec![0x80, 1, 4, 34, 10, 0, 1, 2, 60, 0];
        two.extend([0; 4 + 8]);
        assert_eq!(delta_run(&two), Some((34, 22)));
        assert_eq!(delta_run(&two[..21]), None);
    }

    #[test]
    fn a_run_that_promises_too_much_or_breaks_off_is_told() {
        // 2^62 values.
        let vast = [0x80, 1, 4, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 10];
        assert_eq!(delta_run(&vast), Some((1 << 62, vast.len())));
        for cut in [0, 1, 3, 4, 6, 9] {
            assert_eq!(delta_run(&equal(100)[..cut]), None, "{cut}");
        }
        // No miniblocks, and more of them than there are values.
        assert_eq!(delta_run(&[0x80, 1, 0, 5, 10, 0]), None);
        assert_eq!(delta_run(&[1, 4, 5, 10, 0, 0, 0, 0, 0]), None);
        assert_eq!(varint(&[0xff; 11], &mut 0), None);
    }
}
