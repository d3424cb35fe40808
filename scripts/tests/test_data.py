import json
import lzma
import random
from collections import Counter
from pathlib import Path

from tasnif_train import data
from tasnif_train.data import Article, Foreign, Pair, Sampling


def article(i: int, topics: set[str], target: str, text: str = "", lang: str = "en") -> Article:
    return Article(f"a{i}", lang, "s", "mit", text or f"text {i}", frozenset(topics), pairs=(Pair(target, 0),))


def test_the_split_is_stable_and_about_the_size_asked() -> None:
    ids = [f"id-{i}" for i in range(5000)]
    held = {i for i in ids if data.is_held_out(i, 10)}
    assert 400 < len(held) < 600
    assert held == {i for i in ids if data.is_held_out(i, 10)}
    assert held < {i for i in ids if data.is_held_out(i, 20)}


def test_words_are_found_in_any_case_and_inside_words() -> None:
    assert data.shares_words("NATO expansion", "the nato summit")
    assert data.shares_words("أمن", "الأمن السيبراني")
    assert data.shares_words("US", "the us said")
    assert not data.shares_words("the league", "the bank", frozenset({"the"}))
    assert not data.shares_words("football league", "the central bank raised rates")


def test_a_foreign_target_shares_neither_topic_nor_words() -> None:
    articles = [
        article(0, {"economy"}, "the central bank", text="the first of all"),
        article(1, {"economy"}, "tax cuts", text="and the second one"),
        article(2, {"sport"}, "the cup final", text="but the last match"),
        article(3, {"health"}, "interest rates", text="when the doctor said so"),
        article(4, {"health"}, "a new ward", text="where the patients wait"),
        article(5, {"health"}, "a raised bed", text="how the garden grows"),
    ]
    foreign = Foreign(articles)
    assert foreign.common["en"] == {"the"}
    rng = random.Random(0)
    asked = article(9, {"economy"}, "x", text="the bank raised interest rates")
    drawn = {foreign.draw(asked, rng, 0.5) for _ in range(50)}
    assert drawn == {"the cup final", "a new ward"}


def test_nothing_foreign_gives_none() -> None:
    only = article(0, {"economy"}, "the central bank")
    assert Foreign([only]).draw(only, random.Random(0), 0.5, tries=5) is None


def test_draws_keep_their_shares() -> None:
    articles = [article(i, {f"t{i % 20}"}, f"target{i}", text="words of no target") for i in range(200)]
    foreign, rng = Foreign(articles), random.Random(1)
    draws = [data.draw_article(articles[i % 200], foreign, Sampling(), rng) for i in range(4000)]
    kinds = Counter(
        "unrelated" if pair.stance == data.UNRELATED else "own" if pair.target else "empty"
        for draw in draws
        for pair in draw.pairs
    )
    assert abs(kinds["unrelated"] / 4000 - 0.17) < 0.02
    assert abs(kinds["empty"] / 4000 - 0.20) < 0.02


def test_a_public_article_is_never_asked_for_its_main_subject() -> None:
    public = Article("p", "en", "s", "mit", "text", known=frozenset(), pairs=(Pair("claim", 1),))
    draw = data.draw_article(public, Foreign([public]), Sampling(empty=1.0, unrelated=0.0), random.Random(0))
    assert draw.pairs == (Pair("claim", 1),)


def test_annotated_articles_are_read_from_xz_without_noncommercial_ones(tmp_path: Path) -> None:
    row = {"id": "1", "lang": "ar", "source": "s", "license": "mit", "text": "t", "topics": ["sport"]}
    row |= {"primary": "sport", "stance": [{"target": "x", "stance": "against"}]}
    rows = [row, row | {"id": "2", "license": "cc-by-nc-sa"}, row | {"id": "3", "source": "bbc"}]
    path = tmp_path / "sub" / "annotated.jsonl.xz"
    path.parent.mkdir()
    path.write_bytes(lzma.compress("\n".join(json.dumps(r) for r in rows).encode()))
    found = data.read_annotated(data.find(tmp_path, "annotated"), excluded=["bbc"])
    assert [a.id for a in found] == ["1"]
    assert found[0].pairs == (Pair("x", data.STANCES.index("against")),)
    assert found[0].known is None


def test_public_topics_know_only_what_their_scheme_says(tmp_path: Path) -> None:
    row = {"id": "1", "lang": "en", "source": "s", "license": "mit", "text": "t", "category": "cyber"}
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "2", "category": "other"}) + "\n")
    (found,) = data.read_public(path, {"cyber": ["cybersecurity"]})
    assert found.topics == found.known == {"cybersecurity"}


def test_a_title_is_dropped_only_if_a_text_is_left() -> None:
    assert data.without_title("title\n" + "x" * 200) == "x" * 200
    assert data.without_title("title\nshort") == "title\nshort"
    assert data.without_title("no title") == "no title"


def test_a_shared_pass_asks_everything() -> None:
    articles = [article(i, {f"t{i}"}, f"target{i}", text="words of no target") for i in range(5)]
    draw = data.draw_article(articles[0], Foreign(articles), Sampling(foreign=2), random.Random(0), shared=True)
    kinds = Counter((pair.target == "", pair.stance == data.UNRELATED) for pair in draw.pairs)
    assert kinds == {(False, False): 1, (True, False): 1, (False, True): 2}


def test_two_articles_in_a_window_keep_the_targets_that_only_one_of_them_speaks_of() -> None:
    articles = [
        article(0, {"a"}, "Ankara", text="About Ankara and Cairo."),
        article(1, {"b"}, "Cairo", text="About Cairo alone."),
    ]
    draw = data.draw_article(articles[0], Foreign(articles), Sampling(mix=1.0), random.Random(0), shared=True)
    assert draw.other is articles[1]
    assert [pair.target for pair in draw.pairs] == ["Ankara"]
    assert 0.35 <= draw.share <= 0.65


def test_an_article_alone_in_its_language_or_of_a_public_set_is_not_mixed() -> None:
    articles = [article(0, {"a"}, "one", text="text"), article(1, {"b"}, "two", text="text", lang="ar")]
    foreign = Foreign(articles)
    public = claim(2, "text", "claim", 0)
    for alone in (articles[0], public):
        draw = data.draw_article(alone, foreign, Sampling(mix=1.0), random.Random(0), shared=True)
        assert draw.other is None


def claim(i: int, text: str, target: str, stance: int) -> Article:
    return Article(str(i), "ar", "s", "mit", text, known=frozenset(), pairs=(Pair(target, stance),))


def test_an_even_sample_fills_up_from_the_larger_classes() -> None:
    claims = [claim(i, f"text {i}", f"claim {i}", 0 if i < 3 else 3) for i in range(50)]
    chosen = data.sample_evenly(claims, 20, random.Random(0))
    assert Counter(a.pairs[0].stance for a in chosen) == {0: 3, 3: 17}


def test_neither_claims_nor_texts_stand_on_both_sides() -> None:
    claims = [claim(i, f"text {i % 70}", f"claim {i % 40}", 0) for i in range(280)]
    training, held_out = data.split_claims(claims, 20)
    assert training
    assert held_out
    for side in (lambda a: a.text, lambda a: a.pairs[0].target):
        assert not {side(a) for a in training} & {side(a) for a in held_out}


def test_own_labels_join_public_texts_by_id(tmp_path: Path) -> None:
    public = {"id": "p1", "lang": "en", "source": "x", "license": "mit", "text": "word " * 400, "category": "c"}
    (tmp_path / "set.jsonl").write_text(json.dumps(public) + "\n" + json.dumps({**public, "id": "p2"}))
    row = {"id": "p1", "set": "set", "source": "own", "topics": ["sport"], "primary": "sport", "stance": []}
    (tmp_path / "labelled.jsonl").write_text(json.dumps(row))
    (found,) = data.read_labelled(tmp_path / "labelled.jsonl", tmp_path, characters=12)
    assert (found.id, found.source, found.text, found.topics) == ("p1", "own", "word word", {"sport"})
