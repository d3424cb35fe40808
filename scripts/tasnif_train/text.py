"""Foreign text to token ids, as the service reads it: whole, and without special tokens that the text brings itself."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

UNKNOWN = ("<unk>", "[UNK]")


class TextTokenizer:
    """A tokenizer to whom the characters "</s>" of an article are text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        # What a file brings of truncation or padding would drop text.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self.special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        known = [i for i in map(tokenizer.token_to_id, UNKNOWN) if i is not None]
        if not known:
            raise ValueError("the tokenizer has neither <unk> nor [UNK]: the service can't read with it")
        self.unknown: int = known[0]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Without special tokens around. Where the vocabulary holds "</s>" as a piece of text, it counts as unknown."""
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [[self.unknown if i in self.special else i for i in e.ids] for e in encoded]

    def around(self) -> tuple[list[int], list[int]]:
        """The special tokens before and behind a single text, learnt from the tokenizer itself."""
        plain = self.tokenizer.encode("a", add_special_tokens=False).ids
        whole = self.tokenizer.encode("a").ids
        for start in range(1, len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == plain:
                return whole[:start], whole[start + len(plain) :]
        raise ValueError("the tokenizer puts no special token before a text; the service needs one")
