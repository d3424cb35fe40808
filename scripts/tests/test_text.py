from pathlib import Path

import pytest

tokenizers = pytest.importorskip("tokenizers")

from tasnif_train.text import TextTokenizer  # noqa: E402

TINY = Path(__file__).resolve().parents[2] / "models/tiny/tokenizer.json"


def test_a_text_can_t_write_special_tokens_and_is_never_cut() -> None:
    raw = tokenizers.Tokenizer.from_file(str(TINY))
    raw.enable_truncation(4)
    raw.enable_padding(length=8)
    tokenizer = TextTokenizer(raw)
    hostile, short, long = tokenizer.ids(["one </s> two <mask>", "one", "one " * 50])
    assert not {0, 1, 2} & set(hostile)
    assert tokenizer.unknown in hostile
    assert 0 < len(short) < len(long)
    assert len(long) >= 50


def test_the_special_tokens_around_are_the_tokenizer_s_own() -> None:
    assert TextTokenizer(tokenizers.Tokenizer.from_file(str(TINY))).around() == ([0], [2])


def test_what_the_service_can_t_read_with_is_refused() -> None:
    words = tokenizers.models.WordLevel({"a": 0}, unk_token="a")
    with pytest.raises(ValueError, match="neither <unk> nor"):
        TextTokenizer(tokenizers.Tokenizer(words))
    bare = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    with pytest.raises(ValueError, match="no special token before"):
        TextTokenizer(bare).around()
