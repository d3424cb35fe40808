"""Annotated articles and public sets: reading, splitting, and the draws that one epoch makes from them."""

from __future__ import annotations

import hashlib
import json
import lzma
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STANCES = ("favor", "against", "neutral", "unrelated")
UNRELATED = STANCES.index("unrelated")
NO_STANCE = -100
"""Label of a sequence that teaches no stance; the value that cross-entropy ignores."""


@dataclass(frozen=True)
class Topic:
    """A label of the taxonomy: names by language, IPTC Media Topic codes."""

    id: str
    names: dict[str, str]
    iptc: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A target and the stance that the article conveys toward it, as an index into STANCES."""

    target: str
    stance: int


@dataclass(frozen=True)
class Article:
    """A text with what is known of it.

    `topics` holds the positives; `known` the labels that its source can speak of (None: all of them). A label
    outside `known` is masked in the loss, because silence of a foreign scheme is no evidence of absence; so is one of
    `unsure`, on which annotator and model disagreed.
    """

    id: str
    lang: str
    source: str
    license: str
    text: str
    topics: frozenset[str] = frozenset()
    known: frozenset[str] | None = None
    pairs: tuple[Pair, ...] = ()
    primary: str = ""
    unsure: frozenset[str] = frozenset()

    def knows(self, label: str) -> bool:
        """Whether it is known that the label holds or that it doesn't."""
        return (self.known is None or label in self.known) and label not in self.unsure


def read_taxonomy(path: Path) -> list[Topic]:
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["topic"]
    return [Topic(e["id"], {k: v for k, v in e.items() if k not in ("id", "iptc")}, tuple(e["iptc"])) for e in entries]


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file, decompressed on the way if it ends in .xz."""
    with path.open("rb") as raw, lzma.open(raw) if path.suffix == ".xz" else raw as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def find(data: Path, name: str) -> Path:
    """`name`.jsonl[.xz] anywhere under the data directory."""
    for candidate in sorted(data.rglob(f"{name}.jsonl*")):
        if candidate.name in (f"{name}.jsonl", f"{name}.jsonl.xz"):
            return candidate
    raise FileNotFoundError(f"no {name}.jsonl or {name}.jsonl.xz under {data}")


def is_noncommercial(license_id: str) -> bool:
    return "-nc" in license_id.lower() or "noncommercial" in license_id.lower()


def parse_pairs(row: dict[str, Any]) -> tuple[Pair, ...]:
    return tuple(Pair(p["target"], STANCES.index(p["stance"])) for p in row["stance"])


def parse_annotated(row: dict[str, Any]) -> Article:
    return Article(
        id=row["id"],
        lang=row["lang"],
        source=row["source"],
        license=row["license"],
        text=row["text"],
        topics=frozenset(row["topics"]),
        pairs=parse_pairs(row),
        primary=row["primary"] or "",
        unsure=frozenset(row.get("unsure", ())),
    )


def read_annotated(path: Path, excluded: Sequence[str] = ()) -> list[Article]:
    """Articles with complete topics, without those under a non-commercial licence.

    `excluded` holds beginnings of the names of further sources to leave out.
    """
    articles = [parse_annotated(row) for row in read_jsonl(path) if not is_noncommercial(row["license"])]
    return [article for article in articles if not article.source.startswith(tuple(excluded))]


def read_public(path: Path, mapping: dict[str, list[str]] | None, exclusive: Sequence[str] = ()) -> list[Article]:
    """A public set: of topics where `mapping` (category -> topics) is given, else of stance.

    Of the topics, only those of the category are known to hold, and those of `exclusive` not to.
    """
    articles = []
    for row in read_jsonl(path):
        if is_noncommercial(row["license"]):
            continue
        common = {key: row[key] for key in ("id", "lang", "source", "license", "text")}
        if mapping is None:
            pair = Pair(row["target"], STANCES.index(row["stance"]))
            articles.append(Article(**common, known=frozenset(), pairs=(pair,)))
        elif topics := mapping.get(str(row["category"])):
            articles.append(Article(**common, topics=frozenset(topics), known=frozenset([*topics, *exclusive])))
    return articles


def read_labelled(path: Path, folder: Path, characters: int = 1100) -> list[Article]:
    """Articles of public sets with complete labels of our own: rows name the set and the id, the text stays there.

    A text is its title and beginning, as in the annotated files.
    """
    rows = {row["id"]: row for row in read_jsonl(path)}
    articles = []
    for name in sorted({row["set"] for row in rows.values()}):
        for public in read_jsonl(find(folder, name)):
            if (row := rows.get(public["id"])) and row["set"] == name:
                text = beginning(public["text"], characters)
                kept = {"lang": public["lang"], "license": public["license"], "text": text}
                articles.append(parse_annotated({**row, **kept}))
    return articles


def beginning(text: str, characters: int) -> str:
    """Up to so many characters of a text, by whole words."""
    text = text.strip()
    return text if len(text) <= characters else text[:characters].rsplit(maxsplit=1)[0]


def sample_evenly(articles: Sequence[Article], count: int, rng: random.Random) -> list[Article]:
    """Up to `count` articles with as many of each label as there are: the claims of most sets are unrelated to most
    of their texts."""
    by_label: dict[Any, list[Article]] = {}
    for article in articles:
        label = article.pairs[0].stance if article.pairs else tuple(sorted(article.topics))
        by_label.setdefault(label, []).append(article)
    chosen: list[Article] = []
    for left, label in enumerate(sorted(by_label, key=lambda label: len(by_label[label]))):
        share = (count - len(chosen)) // (len(by_label) - left)
        chosen += rng.sample(by_label[label], min(share, len(by_label[label])))
    return chosen


def split_claims(articles: Sequence[Article], percent: int) -> tuple[list[Article], list[Article]]:
    """(training, held out) of a stance set, such that neither a held-out target nor a held-out text is trained on.

    Sets with a handful of targets are split by text alone.
    """
    few = len({article.pairs[0].target for article in articles}) < 20
    held_out = [a for a in articles if is_held_out(a.text if few else a.pairs[0].target, percent)]
    texts = {a.text for a in held_out}
    targets = set() if few else {a.pairs[0].target for a in held_out}
    training = [a for a in articles if a.text not in texts and a.pairs[0].target not in targets]
    return training, held_out


def is_held_out(article_id: str, percent: int) -> bool:
    """Whether an article belongs to the tuning split: a hash of its id, so that it never moves.

    Languages of SIB-200 carry the same sentence under one `pid`; ids of other sets are one per text.
    """
    digest = hashlib.sha256(article_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < percent


def split(articles: Iterable[Article], percent: int) -> tuple[list[Article], list[Article]]:
    """(training, held out)"""
    training: list[Article] = []
    held_out: list[Article] = []
    for article in articles:
        (held_out if is_held_out(article.id, percent) else training).append(article)
    return training, held_out


_WORD = re.compile(r"\w{3,}")


def common_words(texts: Iterable[str], share: float = 0.2) -> frozenset[str]:
    """Words that stand in more than `share` of the texts: function words, mostly."""
    seen: Counter[str] = Counter()
    count = 0
    for text in texts:
        seen.update(set(_WORD.findall(text.casefold())))
        count += 1
    return frozenset(word for word, n in seen.items() if n > share * count)


def shares_words(target: str, text: str, common: frozenset[str] = frozenset()) -> bool:
    """Whether a word of the target (three letters or more) stands in the text, in any case or as part of a word.

    Substrings count because Arabic, Hebrew and Amharic glue articles and prepositions to the word. Words of `common`
    do not count: else no foreign target would ever contain "the", and a model would see that.
    """
    folded = text.casefold()
    target = target.casefold()
    return target in folded or any(word in folded for word in _WORD.findall(target) if word not in common)


@dataclass(frozen=True)
class Sampling:
    """What one pass over an article asks, and how texts are varied.

    In the pair layout a pass has one target: empty, foreign or the article's own in these shares. In the shared layout
    it has all of its own targets, the empty one and `foreign` foreign ones. `mix` is the share of the annotated
    articles that share their window with another of their language, which is how a long article of two topics looks.
    """

    empty: float = 0.20
    unrelated: float = 0.17
    foreign: int = 1
    same_language: float = 0.5
    drop_title: float = 0.15
    crop: float = 0.25
    mix: float = 0.0


@dataclass(frozen=True)
class Draw:
    """One sequence to train on: an article, and targets with the stance toward each."""

    article: Article
    pairs: tuple[Pair, ...]
    drop_title: bool = False
    crop: float | None = None
    """Where to begin in a text longer than the window, 0 = start … 1 = as late as fills it; None = the start."""
    other: Article | None = None
    """What stands in the same window, behind the article."""
    share: float = 0.5
    """The article's part of a window that can't hold both."""


@dataclass
class Foreign:
    """A source of targets that have nothing to do with an article."""

    articles: Sequence[Article]
    by_language: dict[str, list[Article]] = field(default_factory=dict)
    common: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.articles = [a for a in self.articles if a.pairs]
        for article in self.articles:
            self.by_language.setdefault(article.lang, []).append(article)
        for lang, of_language in self.by_language.items():
            self.common[lang] = common_words(a.text for a in of_language)

    def other(self, article: Article, rng: random.Random) -> Article | None:
        """Another article of the same language."""
        others = self.by_language.get(article.lang, [])
        chosen = rng.choice(others) if len(others) > 1 else article
        return None if chosen.id == article.id else chosen

    def draw(self, article: Article, rng: random.Random, same_language: float, tries: int = 50) -> str | None:
        """A target of another article that shares no topic, the words of which the text does not contain."""
        own = {pair.target for pair in article.pairs}
        common = self.common.get(article.lang, frozenset())
        for _ in range(tries):
            near = self.by_language.get(article.lang) if rng.random() < same_language else None
            other = rng.choice(near or self.articles)
            if other.id == article.id or other.topics & article.topics:
                continue
            target = rng.choice(other.pairs).target
            if target not in own and not shares_words(target, article.text, common):
                return target
        return None


def draw_article(
    article: Article, foreign: Foreign, sampling: Sampling, rng: random.Random, shared: bool = False
) -> Draw:
    """Decide what one pass over an article asks: its main subject, its targets, foreign ones."""
    drop_title = rng.random() < sampling.drop_title
    crop = rng.random() if rng.random() < sampling.crop else None
    draw = draw_pairs if shared else draw_pair
    pairs = draw(article, foreign, sampling, rng)
    # No draw is made where nothing is mixed: recipes without it keep their sequence of draws.
    mixed = shared and sampling.mix and article.known is None and rng.random() < sampling.mix
    if mixed and (other := foreign.other(article, rng)):
        return draw_both(article, other, foreign.common[article.lang], rng)
    return Draw(article, pairs, drop_title, crop)


def draw_both(article: Article, other: Article, common: frozenset[str], rng: random.Random) -> Draw:
    """A window of two articles: neither is its main subject, and a target that both speak of has no certain stance."""
    pairs = [pair for pair in article.pairs if not shares_words(pair.target, other.text, common)]
    pairs += [pair for pair in other.pairs if not shares_words(pair.target, article.text, common)]
    rng.shuffle(pairs)
    return Draw(article, tuple(pairs), other=other, share=rng.uniform(0.35, 0.65))


def draw_pairs(article: Article, foreign: Foreign, sampling: Sampling, rng: random.Random) -> tuple[Pair, ...]:
    """All that an article can be asked, in random order; a public set's, its own targets alone."""
    pairs = list(article.pairs)
    if article.known is None:
        aliens = [foreign.draw(article, rng, sampling.same_language) for _ in range(sampling.foreign)]
        pairs += [Pair(alien, UNRELATED) for alien in aliens if alien]
        if article.pairs:
            pairs.append(Pair("", article.pairs[0].stance))
    rng.shuffle(pairs)
    return tuple(pairs)


def draw_pair(article: Article, foreign: Foreign, sampling: Sampling, rng: random.Random) -> tuple[Pair, ...]:
    """The main subject, one of the article's targets, or a foreign one."""
    kind = rng.random()
    target, stance = "", NO_STANCE
    if article.known is not None:
        # Claims of the public sets are no main subjects: their own target, or nothing.
        if article.pairs:
            pair = rng.choice(article.pairs)
            target, stance = pair.target, pair.stance
    elif kind < sampling.unrelated and (alien := foreign.draw(article, rng, sampling.same_language)):
        target, stance = alien, UNRELATED
    elif article.pairs:
        if kind < sampling.unrelated + sampling.empty:
            stance = article.pairs[0].stance
        else:
            pair = rng.choice(article.pairs)
            target, stance = pair.target, pair.stance
    return (Pair(target, stance),)


def without_title(text: str) -> str:
    """The text after its first line, if enough is left to judge."""
    _, newline, rest = text.partition("\n")
    return rest if newline and len(rest) >= 200 else text
