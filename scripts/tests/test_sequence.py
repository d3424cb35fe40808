import itertools
from dataclasses import replace

import pytest

from tasnif_train.sequence import Layout, assemble, both, even_windows, nearest_start, windows

LAYOUT = Layout(tokens=32, target_tokens=4, prefix=(7, 8), overlap=4)


def test_the_parts_stand_where_their_spans_say() -> None:
    encoded = assemble(LAYOUT, [[20, 21]], [30, 31, 32])
    assert encoded.ids == [0, 20, 21, 2, 2, 7, 8, 30, 31, 32, 2]
    assert encoded.targets == ((0, 4),)
    assert encoded.ids[slice(*encoded.text_span)] == [30, 31, 32]


def test_an_empty_target_leaves_the_two_marks() -> None:
    encoded = assemble(LAYOUT, [[]], [30])
    assert encoded.ids == [0, 2, 2, 7, 8, 30, 2]
    assert encoded.targets == ((0, 2),)


def test_a_long_target_is_cut_and_the_room_knows_it() -> None:
    target = list(range(100, 110))
    room = LAYOUT.room(target)
    assert room == 32 - 4 - 2 - 4
    assert len(assemble(LAYOUT, [target], [1] * room).ids) == 32
    with pytest.raises(ValueError, match="at most 32"):
        assemble(LAYOUT, [target], [1] * (room + 1))


def test_targets_share_the_text_as_branches() -> None:
    shared = replace(LAYOUT, shared=True)
    encoded = assemble(shared, [[20, 21], []], [30, 31])
    assert encoded.ids == [0, 7, 8, 30, 31, 2, 2, 20, 21, 2, 2, 2]
    assert encoded.ids[slice(*encoded.text_span)] == [30, 31]
    assert (encoded.trunk, encoded.targets) == (6, ((6, 10), (10, 12)))
    assert shared.room([20, 21]) == shared.room([]) == 32 - 2 - 2


@pytest.mark.parametrize("length", [0, 1, 20, 21, 40, 41, 100, 333])
def test_windows_cover_every_token_and_fit(length: int) -> None:
    tokens = list(range(length))
    cut = windows(tokens, room=20, overlap=4)
    assert all(len(w) <= 20 for w in cut)
    assert {t for w in cut for t in w} == set(tokens)
    for before, after in itertools.pairwise(cut):
        assert after[0] <= before[-1] - 3


@pytest.mark.parametrize("length", [0, 1, 20, 21, 40, 41, 100, 333])
def test_even_windows_read_nothing_more_often_than_the_overlap_says(length: int) -> None:
    cut = even_windows(list(range(length)), room=20, overlap=4)
    assert all(len(w) <= 20 for w in cut)
    assert sum(map(len, cut)) == length + 4 * (len(cut) - 1)
    assert {t for w in cut for t in w} == set(range(length))
    assert max(map(len, cut)) - min(map(len, cut)) <= 1


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        pytest.param(3, 4, (3, 4), id="both whole"),
        pytest.param(3, 40, (3, 7), id="the second has what the first leaves"),
        pytest.param(40, 3, (7, 3), id="the first has what the second leaves"),
        pytest.param(40, 40, (4, 6), id="each its share"),
    ],
)
def test_two_texts_share_a_window(first: int, second: int, kept: tuple[int, int]) -> None:
    assert both([1] * first, [2] * second, room=10, share=0.4) == [1] * kept[0] + [2] * kept[1]


@pytest.mark.parametrize(
    ("tokens", "target", "start"),
    [
        pytest.param([1] * 5, [9], 0, id="a short text whole"),
        pytest.param([1] * 40, [9], 0, id="nothing of the target: the beginning"),
        pytest.param([1] * 30 + [9] + [1] * 9, [9], 24, id="where it stands"),
        pytest.param([9, 9, 9, *[1] * 30, 9, 8, *[1] * 5], [9, 8], 28, id="the rare word decides"),
        pytest.param([1] * 39 + [9], [9], 32, id="the very end"),
    ],
)
def test_a_window_begins_where_the_target_s_words_stand(tokens: list[int], target: list[int], start: int) -> None:
    assert nearest_start(tokens, target, room=8) == start
