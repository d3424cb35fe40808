"""The input of the trunk: `<s> TARGET </s></s> query: WINDOW </s>`, and the windows of a long text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BOS, EOS = 0, 2
SPECIALS = 4
"""`<s>`, the two `</s>` between the segments, and the last one."""


@dataclass(frozen=True)
class Layout:
    """How many positions a sequence may take, and the tokens of the prefix."""

    tokens: int
    target_tokens: int
    prefix: tuple[int, ...]
    overlap: int = 32

    def room(self, target: Sequence[int]) -> int:
        """Text tokens that fit beside a target."""
        return self.tokens - SPECIALS - len(self.prefix) - min(len(target), self.target_tokens)


@dataclass(frozen=True)
class Encoded:
    """Token ids with the half-open spans of segment A (target states) and segment B (text states)."""

    ids: list[int]
    target_span: tuple[int, int]
    text_span: tuple[int, int]

    @property
    def text_tokens(self) -> int:
        return self.text_span[1] - self.text_span[0]


def assemble(layout: Layout, target: Sequence[int], window: Sequence[int]) -> Encoded:
    """Join the parts; the caller has cut the window to `layout.room(target)`."""
    target = list(target[: layout.target_tokens])
    head = [BOS, *target, EOS, EOS, *layout.prefix]
    ids = [*head, *window, EOS]
    if len(ids) > layout.tokens:
        raise ValueError(f"{len(ids)} positions, at most {layout.tokens}")
    return Encoded(ids, (0, len(target) + 2), (len(head), len(head) + len(window)))


def windows(tokens: Sequence[int], room: int, overlap: int) -> list[list[int]]:
    """Overlapping windows that cover every token; of equal length, so that no crumb is judged alone.

    The service cuts at sentence bounds, which needs offsets; for figures on texts that mostly fit one window
    plain cuts are near enough, and the card's own figures come from the service.
    """
    length = len(tokens)
    if length <= room:
        return [list(tokens)]
    step = room - overlap
    count = 1 + -(-(length - room) // step)
    starts = [round(i * (length - room) / (count - 1)) for i in range(count)]
    return [list(tokens[start : start + room]) for start in starts]
