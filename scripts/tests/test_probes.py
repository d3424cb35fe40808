from collections.abc import Sequence

import pytest

from tasnif_train import probes
from tasnif_train.data import Article, Pair
from tasnif_train.evaluation import Answer, Request

LABELS = ("money", "sport")


def article(id_: str, text: str, *topics: str, stance: int = 0) -> Article:
    return Article(id_, "en", "made", "mit", text, frozenset(topics), pairs=(Pair("it", stance),))


class Words:
    """Assigns the topics whose name stands in the text, in this very case; in favor of all if there is a "!"."""

    def classify(self, requests: Sequence[Request]) -> list[Answer]:
        answers = []
        for request in requests:
            topics = {label: (0.9, True) if label in request.text else (0.1, False) for label in LABELS}
            stance = [1.0, 0.0, 0.0, 0.0] if "!" in request.text else [0.0, 0.0, 1.0, 0.0]
            answers.append(Answer(topics, [stance] * max(len(request.targets), 1)))
        return answers


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("punctuation removed", "Ends, here.\n«So» it is", "Ends here\nSo it is"),
        ("diacritics and tatweel removed", "قَالَ مـــحمد שָׁלוֹם", "قال محمد שלום"),
        ("diacritics and tatweel removed", "Café", "Café"),
        ("title dropped", "Title\n" + "x" * 300, "x" * 300),
        ("footer added", "Text", "Text\n\n" + probes.FOOTERS["en"]),
        ("lower case", "Текст IS", "текст is"),
    ],
)
def test_edits_leave_the_words(name: str, before: str, after: str) -> None:
    assert probes.EDITS[name](article("1", before)) == after


def test_an_edit_is_measured_on_what_it_changes() -> None:
    moved = probes.edits(Words(), [article("1", "money!", "money"), article("2", "sport", "sport")])
    removed = moved["punctuation removed"]
    assert (removed["articles"], removed["topics"], removed["changed"]) == (1, 0.0, 0.0)
    assert (removed["stance"], removed["stance changed"]) == (0.5, 1.0)
    assert moved["footer added"]["articles"] == 2
    assert "lower case" not in moved


def test_an_assignment_lost_counts_as_changed() -> None:
    moved = probes.edits(Words(), [article("1", "Money money", "money"), article("2", "SPORT money", "money")])
    assert moved["lower case"]["topics"] == pytest.approx(0.8 / 4)
    assert moved["lower case"]["changed"] == pytest.approx(1 / 3)


def test_long_articles_hold_one_text_of_another_topic() -> None:
    texts = [article(str(i), f"sport {i}", "sport") for i in range(4)] + [article("m", "money", "money")]
    texts.append(article("both", "money and sport", "money", "sport"))
    mixed = probes.mixtures(texts, 3)
    assert [(m.host, m.guest, m.alien) for m in mixed] == [("sport", "money", "money")] * 3
    for position in range(probes.PARTS):
        parts = mixed[0].at(position).split("\n\n")
        assert len(parts) == probes.PARTS
        assert parts.index("money") == position
    assert mixed == probes.mixtures(texts, 3)
    assert probes.mixtures(texts[:3], 3) == []


def test_a_reader_of_beginnings_keeps_no_late_topic() -> None:
    class Beginning(Words):
        def classify(self, requests: Sequence[Request]) -> list[Answer]:
            return super().classify([Request(r.id, r.text[:20], r.targets) for r in requests])

    texts = [article(str(i), f"sport {i}", "sport") for i in range(4)] + [article("m", "money", "money")]
    mixed = probes.mixtures(texts, 2)
    everywhere = probes.two_topics(Words(), mixed)["positions"]
    assert [p["relative"] for p in everywhere] == [1.0] * probes.PARTS
    early = probes.two_topics(Beginning(), mixed)["positions"]
    assert (early[0]["relative"], early[-1]["relative"]) == (1.0, 0.0)


def test_claims_are_judged_over_the_classes_of_their_set() -> None:
    posts = [article("1", "good!", stance=0), article("2", "bad", stance=1), article("3", "so", stance=2)]
    figures = probes.claims(Words(), {"posts": posts})["posts"]
    assert figures["macro_f1"] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert figures["favor_against"] == 0.5
    assert set(figures["f1"]) == {"favor", "against", "neutral"}
