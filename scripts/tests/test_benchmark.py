import json

import pytest

from tasnif_train.benchmark import (
    BEGIN,
    CLASSES,
    END,
    LANGUAGES,
    Figures,
    between_markers,
    choose,
    markdown,
    matching_overlap,
    ratios,
)
from tasnif_train.sequence import Layout

ROWS = [
    {"lang": lang, "text": f"{lang} {number} " + "word " * words, "stance": [{"target": "the plan", "stance": "favor"}]}
    for lang in LANGUAGES
    for number, words in enumerate((20, 30, 40, 120, 150, 180))
]


def test_the_choice_has_every_language_and_length_and_does_not_depend_on_the_order() -> None:
    texts = choose(ROWS, 2)
    assert [(t.language, t.length) for t in texts] == [(lang, c) for lang in LANGUAGES for c in CLASSES for _ in (1, 2)]
    assert choose(reversed(ROWS), 2) == texts
    for text in texts:
        least, most = CLASSES[text.length]
        assert least <= len(text.text) <= most
        assert text.joined == (text.length == "long")
        assert text.target == "the plan"
    assert len({t.text for t in texts}) == len(texts)


def test_a_language_without_texts_is_an_error() -> None:
    with pytest.raises(ValueError, match="language ru"):
        choose([row for row in ROWS if row["lang"] != "ru"], 1)


def test_the_overlap_is_the_one_at_which_as_much_is_read() -> None:
    layout = Layout(tokens=32, target_tokens=4, prefix=(7, 8), overlap=4, shared=True)
    texts = [list(range(100))]
    # Room for 28: four windows, each in a frame of 4, and three overlaps.
    assert matching_overlap(texts, layout, 100 + 4 * 4 + 3 * 3) == 3
    assert matching_overlap([list(range(20))], layout, 24) == 0


def figures(factor: float) -> Figures:
    rates = [factor * rate for rate in (1.0, 3.0, 2.0)]
    return Figures(rates, rates, rates, {length: [10 / rate for rate in rates] for length in CLASSES})


def test_ratios_say_how_many_times_as_fast_ours_is() -> None:
    found = ratios(figures(3.0), figures(1.0))
    assert {name: round(value, 6) for name, value in found.items()} == dict.fromkeys(found, 3.0)
    assert figures(1.0).medians()["topics"] == 2.0


def test_the_table_shows_medians_and_ratios_to_ours() -> None:
    table = markdown({"a": figures(3.0), "b": figures(1.0)}, {"a": "ours", "b": "theirs"}, "a").splitlines()
    assert len(table) == 4
    assert "×" not in table[2]
    assert table[3].startswith("| theirs | 2.00 (3.0×) |")
    json.dumps(vars(figures(1.0)))


def test_the_table_replaces_what_stands_between_the_markers() -> None:
    assert between_markers(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\nnew\n{END}\nb"
    with pytest.raises(ValueError, match="lacks"):
        between_markers("a", "new")
