"""The input of the trunk, in two layouts, and the windows of a long text.

- `pair`: `<s> TARGET </s></s> query: WINDOW </s>`, every token sees every other; one target a sequence.
- `shared`: `<s> query: WINDOW </s>`, the trunk of the sequence, then a branch `</s> TARGET </s>` for each target. The
  trunk sees itself alone, a branch sees the trunk and itself, and every branch begins at the position behind the trunk:
  so one pass over the window serves all targets, and none of them knows of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

BOS, EOS = 0, 2
PAIR_SPECIALS = 4
"""`<s>`, the two `</s>` between the segments, and the last one."""
SHARED_SPECIALS = 2
"""`<s>` and `</s>` of the trunk."""


@dataclass(frozen=True)
class Layout:
    """How many positions a sequence (in the shared layout, its trunk) may take, and the tokens of the prefix."""

    tokens: int
    target_tokens: int
    prefix: tuple[int, ...]
    overlap: int = 32
    shared: bool = False

    def room(self, target: Sequence[int]) -> int:
        """Text tokens that fit beside a target."""
        if self.shared:
            return self.tokens - SHARED_SPECIALS - len(self.prefix)
        return self.tokens - PAIR_SPECIALS - len(self.prefix) - min(len(target), self.target_tokens)


@dataclass(frozen=True)
class Encoded:
    """Token ids with the half-open spans of the text and of each target's segment, special tokens included.

    Ids from `trunk` on belong to branches, that is to the segments that begin there.
    """

    ids: list[int]
    text_span: tuple[int, int]
    targets: tuple[tuple[int, int], ...]
    trunk: int

    @property
    def text_tokens(self) -> int:
        return self.text_span[1] - self.text_span[0]

    @property
    def branches(self) -> list[tuple[int, int]]:
        return [span for span in self.targets if span[0] >= self.trunk]


def assemble(layout: Layout, targets: Sequence[Sequence[int]], window: Sequence[int]) -> Encoded:
    """Join the parts; the caller has cut the window to the layout's room."""
    targets = [list(target[: layout.target_tokens]) for target in targets]
    if layout.shared:
        head = [BOS, *layout.prefix]
        ids = [*head, *window, EOS]
        trunk = len(ids)
        spans = []
        for target in targets:
            spans.append((len(ids), len(ids) + len(target) + 2))
            ids += [EOS, *target, EOS]
    else:
        (target,) = targets
        head = [BOS, *target, EOS, EOS, *layout.prefix]
        ids = [*head, *window, EOS]
        trunk = len(ids)
        spans = [(0, len(target) + 2)]
    if trunk > layout.tokens:
        raise ValueError(f"{trunk} positions, at most {layout.tokens}")
    return Encoded(ids, (len(head), len(head) + len(window)), tuple(spans), trunk)


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


def nearest_start(tokens: Sequence[int], target: Sequence[int], room: int) -> int:
    """Where to begin so that the window holds most of the target's tokens; the earliest of equals.

    A token counts by how rare it is in the text: what stands everywhere tells no place from another.
    """
    last = max(0, len(tokens) - room)
    asked = set(target)
    counts = Counter(token for token in tokens if token in asked)

    def held(start: int) -> float:
        return sum(1 / counts[token] for token in asked & set(tokens[start : start + room]))

    starts: list[int] = [*range(0, last, max(1, room // 4)), last]
    # Of equals, max takes the first.
    return max(starts, key=held)


def both(first: Sequence[int], second: Sequence[int], room: int, share: float) -> list[int]:
    """Two texts in one window: as they are if they fit, else each by its beginning, the first with `share` of the room.

    What one of them leaves of its part is the other's.
    """
    length = min(len(first), max(round(share * room), room - len(second)))
    return [*first[:length], *second[: room - length]]


def even_windows(tokens: Sequence[int], room: int, overlap: int) -> list[list[int]]:
    """As few windows as fit, about equally long: the service's, where no sentence ends. Nothing is read more often than
    the overlap says, which is what a comparison of speed needs.
    """
    length = len(tokens)
    if length <= room:
        return [list(tokens)]
    count = -(-(length - overlap) // (room - overlap))
    step = (length - overlap) / count
    return [list(tokens[round(i * step) : round((i + 1) * step) + overlap]) for i in range(count)]
