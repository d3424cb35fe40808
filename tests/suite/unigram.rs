//! Our Unigram vocabulary against the tokenizers crate's: tokens, ids and offsets must be the same on any text, and what the
//! crate refuses must be refused.

use std::fmt::Display;
use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tasnif::model::{Tokenizer, Vocabulary};
use tokenizers::Encoding;

use super::common::{repository, texts};
use super::tokenizer::any_text;

type Stock = tokenizers::Tokenizer;

/// A tokenizer.json of nothing but the model, read by both.
fn both(model: &str) -> (Result<Tokenizer, String>, Result<Stock, String>) {
    let json = format!(r#"{{"version": "1.0", "added_tokens": [], "model": {model}}}"#);
    (
        serde_json::from_str(&json).map_err(|error| error.to_string()),
        json.parse().map_err(|error: tokenizers::Error| error.to_string()),
    )
}

fn encoded(encoding: Result<Encoding, impl Display>) -> Result<Encoding, String> {
    encoding.map_err(|error| error.to_string())
}

fn agree(own: &Tokenizer, stock: &Stock, text: &str) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        encoded(own.encode(text, true)),
        encoded(stock.encode(text, true)),
        "{:?}",
        text
    );
    prop_assert_eq!(own.token_to_id(text), stock.token_to_id(text), "{:?}", text);
    Ok(())
}

/// The shipped tokenizer, by both.
fn shipped() -> &'static (Tokenizer, Stock) {
    static SHIPPED: OnceLock<(Tokenizer, Stock)> = OnceLock::new();
    SHIPPED.get_or_init(|| {
        let json = std::fs::read(repository("models/default/tokenizer.json")).expect("tokenizer.json");
        let own = serde_json::from_slice(&json).expect("ours reads it");
        (own, Stock::from_bytes(&json).expect("the crate reads it"))
    })
}

#[test]
fn the_shipped_vocabulary_is_ours_and_the_same() {
    let (own, stock) = shipped();
    assert!(
        matches!(own.get_model(), Vocabulary::Unigram(_)),
        "it fell back to the crate"
    );
    assert_eq!(own.get_vocab(true), stock.get_vocab(true));
    for id in (0..250_010).step_by(7) {
        assert_eq!(own.id_to_token(id), stock.id_to_token(id), "{id}");
    }
    for text in texts() {
        agree(own, stock, &text).expect("the same");
    }
}

/// Vocabularies that no exporter writes: whether they are refused, and who reads them.
#[test]
fn odd_vocabularies_are_read_as_the_crate_reads_them() {
    let huge = format!(
        r#""unk_id":0,"vocab":[["<unk>",0],["{}",3],["a",-1]]"#,
        "a".repeat(1_000)
    );
    let (ours, crates, refused) = (Some(true), Some(false), None);
    let unigram = [
        ("no pieces", r#""vocab":[]"#, ours),
        ("no pieces, yet an unknown", r#""unk_id":0,"vocab":[]"#, refused),
        ("no unknown", r#""vocab":[["a",-1],["ab",-1]]"#, ours),
        ("null for it", r#""unk_id":null,"vocab":[["a",-1]]"#, ours),
        (
            "beyond the end",
            r#""unk_id":2,"vocab":[["<unk>",0],["a",-1]]"#,
            refused,
        ),
        (
            "far beyond",
            r#""unk_id":18446744073709551615,"vocab":[["a",-1]]"#,
            refused,
        ),
        ("negative", r#""unk_id":-1,"vocab":[["a",-1]]"#, refused),
        ("text for an id", r#""unk_id":"0","vocab":[["a",-1]]"#, refused),
        (
            "twice",
            r#""unk_id":0,"vocab":[["<unk>",0],["a",-1],["ab",-9],["ab",-2]]"#,
            ours,
        ),
        ("unknown twice", r#""unk_id":0,"vocab":[["<unk>",0],["<unk>",1]]"#, ours),
        ("empty", r#""unk_id":1,"vocab":[["",5],["<unk>",0],["a",-1]]"#, ours),
        (
            "equal",
            r#""vocab":[["a",0],["ab",0],["b",0],["aab",0],["aa",0]]"#,
            ours,
        ),
        (
            "spelt by unknown",
            r#""unk_id":0,"vocab":[["<unk>",90],["xy",11]]"#,
            ours,
        ),
        (
            "bytes",
            r#""unk_id":0,"byte_fallback":true,"vocab":[["?",0],["<0xC3>",-1],["<0xA9>",-1]]"#,
            ours,
        ),
        ("null for bytes", r#""byte_fallback":null,"vocab":[["a",0]]"#, refused),
        (
            "overflow",
            r#""unk_id":0,"vocab":[["?",-1e308],["a",-1.7e308],["ab",1.7e308]]"#,
            ours,
        ),
        ("infinite", r#""vocab":[["a",1e999]]"#, refused),
        ("NaN", r#""vocab":[["a",NaN]]"#, refused),
        ("no score", r#""vocab":[["a"]]"#, refused),
        ("null for a score", r#""vocab":[["a",null]]"#, refused),
        ("two scores", r#""vocab":[["a",0,1]]"#, refused),
        ("an object", r#""vocab":{"a":0}"#, refused),
        ("no vocabulary", r#""unk_id":0"#, refused),
        ("half a character", r#""vocab":[["\ud800",0]]"#, refused),
        (
            "escapes",
            r#""vocab":[["\u0000",-1],["\ud83d\ude00\u00e9",-2],["\"",-1]]"#,
            ours,
        ),
        (
            "other keys",
            r#""alpha":1,"vocab":[["a",-1],["?",-2]],"unk_id":1"#,
            ours,
        ),
        ("huge", &huge, ours),
    ];
    let unigram = unigram.map(|(case, fields, read)| (case, format!(r#"{{"type":"Unigram",{fields}}}"#), read));
    let other = [
        (
            "type last",
            r#"{"vocab":[["a",-1],["?",-2]],"unk_id":1,"type":"Unigram"}"#,
            crates,
        ),
        ("no type", r#"{"unk_id":0,"vocab":[["a",-1],["ab",-1]]}"#, crates),
        (
            "WordLevel",
            r#"{"type":"WordLevel","unk_token":"?","vocab":{"a":1,"?":0}}"#,
            crates,
        ),
        ("no such type", r#"{"type":"Trigram","vocab":[["a",-1]]}"#, refused),
        ("no object", "7", refused),
    ];
    let other = other.map(|(case, model, read)| (case, model.to_owned(), read));
    let long = "a".repeat(3_000);
    let texts = [
        "",
        "a",
        "ab",
        "aab",
        "xy",
        "xay",
        "é",
        "a\u{0}\u{1f600}é\"",
        "<unk>",
        "x<unk>é",
        &long,
    ];
    for (case, model, expected) in unigram.into_iter().chain(other) {
        match (both(&model), expected) {
            ((Ok(own), Ok(stock)), Some(ours)) => {
                assert_eq!(matches!(own.get_model(), Vocabulary::Unigram(_)), ours, "{case}");
                assert_eq!(own.get_vocab(true), stock.get_vocab(true), "{case}");
                for text in texts {
                    agree(&own, &stock, text).unwrap_or_else(|error| panic!("{case}: {error}"));
                }
            }
            ((Err(_), Err(_)), None) => {}
            ((own, stock), _) => panic!("{case}: {own:?}, the crate's: {stock:?}"),
        }
    }
}

/// The crate's trie would overflow the stack at its end.
#[test]
fn a_piece_of_a_hundred_thousand_characters_is_a_piece() {
    let vocabulary = json!([["b", -1], ["a".repeat(100_000), 3], ["a", -1]]);
    let model = json!({"type": "Unigram", "vocab": vocabulary});
    let own: Tokenizer = serde_json::from_value(json!({"version": "1.0", "model": model})).expect("ours reads it");
    assert_eq!(own.encode("bab", true).expect("tokens").get_ids(), [0, 2, 0]);
}

/// Texts over few characters of every length in UTF-8, so that pieces overlap and meet.
fn syllables(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let characters = vec![
        "a",
        "b",
        "▁",
        "é",
        "e\u{301}",
        "\u{0}",
        "م",
        "\u{64e}",
        "漢",
        "\u{1f468}",
        "\u{200d}",
        "<unk>",
    ];
    prop::collection::vec(prop::sample::select(characters), length).prop_map(|characters| characters.concat())
}

/// A model with few pieces, whose scores are often equal, some of them positive.
fn any_model() -> impl Strategy<Value = Value> {
    let score = prop_oneof![Just(-1.0), Just(0.0), Just(-2.5), Just(14.0), -30.0..30.0];
    let piece = prop_oneof![8 => syllables(0..5), 1 => (0u8..=255).prop_map(|byte| format!("<0x{byte:02X}>"))];
    let vocabulary = prop::collection::vec((piece, score), 0..30);
    (
        vocabulary,
        prop::option::weighted(0.8, 0usize..30),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(mut vocabulary, unknown, fallback, bytes)| {
            if bytes {
                vocabulary.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), -5.0)));
            }
            json!({"type": "Unigram", "unk_id": unknown, "byte_fallback": fallback, "vocab": vocabulary})
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_vocabulary_segments_as_the_crates(model in any_model(), texts in prop::collection::vec(syllables(0..40), 1..6), foreign in any_text()) {
        match both(&model.to_string()) {
            (Ok(own), Ok(stock)) => {
                for text in texts.iter().chain([&foreign]) {
                    agree(&own, &stock, text)?;
                }
            }
            (Err(_), Err(_)) => {}
            (own, stock) => prop_assert!(false, "{own:?}, the crate's: {stock:?}"),
        }
    }

    #[test]
    fn the_shipped_vocabulary_segments_as_the_crates(text in any_text()) {
        let (own, stock) = shipped();
        agree(own, stock, &text)?;
    }
}
