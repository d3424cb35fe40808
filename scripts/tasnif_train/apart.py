"""Keeping what a model is measured on out of what it learns from, also where a text stands in two sets.

Public sets overlap: an agency's text is in several of them, with another title or a site's header. Two texts are taken
for the same where they share more than half of the runs of eight words of the shorter one (shingles: Broder 1997, "On
the resemblance and containment of documents"); eight words in a row are hardly ever chance.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tasnif_train.data import Article

_WORD = re.compile(r"\w+")
WORDS = 8
MOST = 400
"""Words of a text that are looked at: the annotated texts are beginnings, of up to 1,100 characters."""


def shingles(text: str) -> frozenset[int]:
    words = _WORD.findall(text.casefold())[:MOST]
    return frozenset(hash(tuple(words[i : i + WORDS])) for i in range(max(1, len(words) - WORDS + 1)))


class Shingled:
    """Texts, among which others are found though they come in other dress."""

    def __init__(self, texts: Iterable[str], share: float = 0.5) -> None:
        self.share = share
        self.sizes: list[int] = []
        self.holders: dict[int, list[int]] = {}
        for index, text in enumerate(texts):
            own = shingles(text)
            self.sizes.append(len(own))
            for shingle in own:
                self.holders.setdefault(shingle, []).append(index)

    def holds(self, text: str) -> bool:
        """Whether the text is one of them, or near enough."""
        own = shingles(text)
        common = Counter(index for shingle in own for index in self.holders.get(shingle, ()))
        return any(count > self.share * min(len(own), self.sizes[index]) for index, count in common.items())

    def without(self, articles: Sequence[Article]) -> list[Article]:
        return [article for article in articles if not self.holds(article.text)]
