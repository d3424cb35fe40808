import json
from pathlib import Path

import numpy as np
import pytest

from tasnif_train import labelled
from tasnif_train.labelled import Labelled, LabelledError, Row

EXAMPLE = Path(__file__).resolve().parents[1] / "examples/labelled.jsonl"


def jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def refused(path: Path, **options: str) -> str:
    with pytest.raises(LabelledError) as caught:
        labelled.read(path, **options)
    return str(caught.value)


def made(*labels: str) -> Labelled:
    rows = tuple(Row(i + 1, f"text {i}", frozenset(filter(None, given.split(";")))) for i, given in enumerate(labels))
    names = tuple(sorted({label for row in rows for label in row.labels}))
    return Labelled("made", rows, names, any(len(row.labels) != 1 for row in rows))


def test_the_example_set_is_whole() -> None:
    data = labelled.read(EXAMPLE)
    assert data.labels == ("economy", "health", "sport")
    assert not data.multi
    assert data.truth().sum(axis=0).tolist() == [20, 20, 20]
    labelled.check(data, 20)


def test_one_string_is_one_label_and_other_fields_don_t_matter(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "a", "label": " sport ", "lang": "en"}, {"text": "b", "label": "health", "x": None})
    data = labelled.read(path)
    assert [sorted(row.labels) for row in data.rows] == [["sport"], ["health"]]
    assert (data.multi, data.labels) == (False, ("health", "sport"))


@pytest.mark.parametrize("value", [["a", "b"], "a; b", "a;b;"])
def test_a_list_or_a_separated_string_makes_the_set_multi_label(tmp_path: Path, value: object) -> None:
    data = labelled.read(jsonl(tmp_path, {"text": "x", "label": value}, {"text": "y", "label": "c"}))
    assert data.multi
    assert data.truth().tolist() == [[True, True, False], [False, False, True]]


def test_no_label_at_all_is_an_answer_where_many_are_possible(tmp_path: Path) -> None:
    data = labelled.read(jsonl(tmp_path, {"text": "x", "label": []}, {"text": "y", "label": ["a"]}))
    assert data.truth().tolist() == [[False], [True]]


def test_multi_label_can_be_asked_for(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "x", "label": "a"}, {"text": "y", "label": "b"})
    assert labelled.read(path, multi=True).multi


def test_csv_with_a_byte_order_mark_and_line_breaks_in_cells(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text('\ufeffbody,section\n"first\nline, two",news\nsecond,sport\n', encoding="utf-8")
    data = labelled.read(path, "body", "section")
    assert [(row.line, row.text) for row in data.rows] == [(2, "first\nline, two"), (4, "second")]


def test_errors_say_where_and_what(tmp_path: Path) -> None:
    good = {"text": "fine", "label": "a"}
    assert "line 2: no field 'label'; it has 'tag', 'text'" in refused(jsonl(tmp_path, good, {"text": "t", "tag": "a"}))
    assert "line 2: no field 'text'" in refused(jsonl(tmp_path, good, {"label": "a"}))
    assert "line 2: 'text' is empty" in refused(jsonl(tmp_path, good, {"text": " \n", "label": "a"}))
    assert "line 2: 'text' is int" in refused(jsonl(tmp_path, good, {"text": 3, "label": "a"}))
    assert "line 2: 'label' is empty" in refused(jsonl(tmp_path, good, {"text": "t", "label": ""}))
    assert "line 1: 'label' holds [['a']]" in refused(jsonl(tmp_path, {"text": "t", "label": [["a"]]}))
    assert "line 2: an object is expected" in refused(jsonl(tmp_path, good, ["a"]))
    assert "no rows" in refused(jsonl(tmp_path))
    (tmp_path / "set.jsonl").write_text('{"text": "t"\n')
    assert "line 1: not JSON" in refused(tmp_path / "set.jsonl")
    (tmp_path / "set.jsonl").write_bytes(b'{"text": "\xe9"}\n')
    assert "not UTF-8" in refused(tmp_path / "set.jsonl")
    assert "No such file" in refused(tmp_path / "absent.csv")
    assert ".jsonl, .csv or .tsv" in refused(tmp_path / "set.xlsx")
    short = tmp_path / "short.csv"
    short.write_text("text,label\na,b\nonly text\n")
    assert "line 3: no field 'label'" in refused(short)


def test_a_text_that_stands_twice_counts_once_or_is_a_contradiction(tmp_path: Path) -> None:
    twice = labelled.read(jsonl(tmp_path, {"text": "a  b", "label": "x"}, {"text": "a b", "label": "x"}))
    assert (len(twice.rows), twice.repeated) == (1, 1)
    message = refused(jsonl(tmp_path, {"text": "a", "label": "x"}, {"text": "a", "label": "y"}))
    assert "line 2: the text of line 1 again, with other labels ('y' instead of 'x')" in message


def test_labels_that_can_t_be_learnt_are_named() -> None:
    labelled.check(made("a", "a", "b", "b"), 2)
    for data, reason in (
        (made("a", "a", "b"), "'b' has 1, at least 2"),
        (made("a", "a"), "nothing to tell apart"),
        (made("a;b", "a;b", "a"), "'a' is on every text"),
    ):
        with pytest.raises(LabelledError, match=reason):
            labelled.check(data, 2)


def test_a_model_s_own_labels_keep_their_order() -> None:
    data = made("b", "a")
    assert labelled.for_labels(data, ("b", "c", "a"), multi=False).truth().tolist() == [
        [True, False, False],
        [False, False, True],
    ]
    with pytest.raises(LabelledError, match=r"line 1: the model has no label 'b'; it has 'a', 'c'"):
        labelled.for_labels(data, ("a", "c"), multi=False)
    with pytest.raises(LabelledError, match="line 1: 2 labels"):
        labelled.for_labels(made("a;b"), ("a", "b"), multi=False)


@pytest.mark.parametrize("parts", [2, 5])
def test_every_part_has_its_share_of_every_label(parts: int) -> None:
    data = made(*["rare;common"] * 5, *["common"] * 40, *["other"] * 15, *[""] * 10)
    part = labelled.folds(data, parts, seed=1)
    truth = data.truth()
    for label in range(len(data.labels)):
        counts = [int(truth[part == p, label].sum()) for p in range(parts)]
        assert max(counts) - min(counts) <= 1, data.labels[label]
    sizes = np.bincount(part, minlength=parts)
    assert sizes.max() - sizes.min() <= 2
    assert (part == labelled.folds(data, parts, seed=1)).all()
    assert (part != labelled.folds(data, parts, seed=2)).any()
