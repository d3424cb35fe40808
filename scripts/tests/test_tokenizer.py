import json
from pathlib import Path

import pytest

from tasnif_train import tokenizer

ROOT = Path(__file__).resolve().parents[2]


def test_protobuf_fields_of_every_wire_type() -> None:
    message = bytes([0x08, 0x96, 0x01, 0x12, 0x02, 0x68, 0x69, 0x1D, 1, 2, 3, 4, 0x21, *range(8), 0x12, 0x01, 0x21])
    assert [number for number, _ in tokenizer.protobuf_fields(message)] == [1, 2, 3, 4, 2]
    assert tokenizer.protobuf_field(message, 2) == b"hi"
    with pytest.raises(KeyError):
        tokenizer.protobuf_field(message, 9)


def test_a_mask_piece_becomes_an_added_token() -> None:
    pieces = [*((p, 0.0) for p in tokenizer.SPECIALS), ("▁a", -1.0), ("<mask>", 0.0)]
    contents = tokenizer.build(pieces, b"table")
    assert contents["added_tokens"][-1]["id"] == 5
    assert contents["added_tokens"][-1]["lstrip"]


def test_specials_must_come_first() -> None:
    with pytest.raises(ValueError, match="begin"):
        tokenizer.build([("▁a", -1.0)] * 5, b"")


def test_a_trained_tokenizer_normalises_as_sentencepiece_does() -> None:
    pytest.importorskip("sentencepiece")
    tokenizers = pytest.importorskip("tokenizers")
    pieces, charsmap = tokenizer.train_unigram(["hello world", "a world of words", "hello words"], 40)
    built = tokenizers.Tokenizer.from_str(tokenizer.dumps(tokenizer.build(pieces, charsmap)))
    plain = built.encode("hello world").ids
    assert plain[0] == 0
    assert plain[-1] == 2
    assert built.encode("ｈｅｌｌｏ \t  world").ids == plain


def test_the_golden_file_is_what_the_bundles_tokenizers_give() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    golden = ROOT / "tests/data/tokenizer/golden.jsonl"
    loaded = {}
    for line in golden.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        folder = ROOT / "models" / entry["tokenizer"]
        if entry["tokenizer"] not in loaded:
            loaded[entry["tokenizer"]] = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        encoded = loaded[entry["tokenizer"]].encode(entry["text"], add_special_tokens=False)
        assert encoded.ids == entry["ids"], entry["text"]
        assert [list(o) for o in encoded.offsets] == entry["offsets"], entry["text"]
