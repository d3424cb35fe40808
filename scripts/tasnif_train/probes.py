"""Probes of a served model beyond a test file: harmless edits, long articles of two topics, claims about articles."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasnif_train import metrics
from tasnif_train.data import STANCES, Article, without_title
from tasnif_train.evaluation import Answer, Backend, Request

MOST_TARGET = 160
"""Characters of a claim; the 64 tokens that the service reads of a target are at least that, as training cuts them."""

PARTS = 10
"""Of a long article; about 2,500 tokens, a dozen windows."""

_MARKS = re.compile(
    "[\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0640\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"
)
"""Vowel and cantillation marks of Arabic and Hebrew, and the tatweel, which only stretches a word."""

FOOTERS = {
    "ar": "اشترك في نشرتنا البريدية وتابعنا على وسائل التواصل الاجتماعي. جميع الحقوق محفوظة.",
    "de": "Abonnieren Sie unseren Newsletter und folgen Sie uns in den sozialen Netzwerken. Alle Rechte vorbehalten.",
    "en": "Subscribe to our newsletter and follow us on social media. All rights reserved.",
    "fa": "در خبرنامه ما عضو شوید و ما را در شبکه‌های اجتماعی دنبال کنید. تمامی حقوق محفوظ است.",
    "fr": "Abonnez-vous à notre lettre d'information et suivez-nous sur les réseaux sociaux. Tous droits réservés.",
    "he": "הירשמו לניוזלטר שלנו ועקבו אחרינו ברשתות החברתיות. כל הזכויות שמורות.",
    "hi": "हमारे न्यूज़लेटर की सदस्यता लें और सोशल मीडिया पर हमें फ़ॉलो करें। सर्वाधिकार सुरक्षित।",
    "ru": "Подписывайтесь на нашу рассылку и следите за нами в социальных сетях. Все права защищены.",
    "tr": "Bültenimize abone olun ve bizi sosyal medyada takip edin. Tüm hakları saklıdır.",
}


def without_punctuation(text: str) -> str:
    """Every character of punctuation as a space; lines stay lines, for the first is the title."""
    plain = "".join(" " if unicodedata.category(c).startswith("P") else c for c in text)
    return "\n".join(" ".join(line.split()) for line in plain.split("\n"))


def with_footer(article: Article) -> str:
    return f"{article.text}\n\n{FOOTERS.get(article.lang, FOOTERS['en'])}"


EDITS: dict[str, Callable[[Article], str]] = {
    "punctuation removed": lambda article: without_punctuation(article.text),
    "diacritics and tatweel removed": lambda article: _MARKS.sub("", article.text),
    "title dropped": lambda article: without_title(article.text),
    "footer added": with_footer,
    "lower case": lambda article: article.text.lower(),
}


def _scores(answers: Sequence[Answer], labels: Sequence[str]) -> tuple[metrics.F64, metrics.Bool]:
    scores = np.array([[answer.topics[label][0] for label in labels] for answer in answers])
    return scores, np.array([[answer.topics[label][1] for label in labels] for answer in answers])


def _mean(values: metrics.F64 | metrics.Bool) -> float:
    return float(values.mean()) if values.size else 0.0


def edits(backend: Backend, articles: Sequence[Article]) -> dict[str, dict[str, float]]:
    """How far scores move under edits that leave the meaning; only articles that an edit changes are counted.

    Absolute differences, of topics over all labels and over those assigned before or after, of stance over the four
    classes for the article's own targets.
    """

    def asked(of: Sequence[Article], texts: Sequence[str]) -> list[Answer]:
        pairs = zip(of, texts, strict=True)
        return backend.classify([Request(a.id, text, tuple(p.target for p in a.pairs)) for a, text in pairs])

    before = asked(articles, [a.text for a in articles])
    labels = sorted(before[0].topics)
    moved = {}
    for name, edit in EDITS.items():
        rows = [i for i, a in enumerate(articles) if edit(a) != a.text]
        if not rows:
            continue
        after = asked([articles[i] for i in rows], [edit(articles[i]) for i in rows])
        (old, had), (new, has) = _scores([before[i] for i in rows], labels), _scores(after, labels)
        own = [i for i, row in enumerate(rows) if articles[row].pairs]
        old_stance = np.array([s for i in own for s in before[rows[i]].stance]).reshape(-1, len(STANCES))
        new_stance = np.array([s for i in own for s in after[i].stance]).reshape(-1, len(STANCES))
        delta, either = np.abs(new - old), had | has
        moved[name] = {
            "articles": len(rows),
            "topics": _mean(delta),
            "assigned": _mean(delta[either]),
            "changed": _mean((had != has)[either]),
            "stance": _mean(np.abs(new_stance - old_stance)),
            "stance changed": _mean(old_stance.argmax(axis=1) != new_stance.argmax(axis=1)),
        }
    return moved


@dataclass(frozen=True)
class Mixed:
    """Texts of one topic with a text of another to be put among them."""

    lang: str
    host: str
    guest: str
    parts: tuple[str, ...]
    alien: str

    def at(self, position: int) -> str:
        return "\n\n".join([*self.parts[:position], self.alien, *self.parts[position:]])


def mixtures(articles: Sequence[Article], count: int, seed: int = 11, least: int = 4) -> list[Mixed]:
    """Long articles from those of a single topic, hosts and guests in the same language, topics in turn.

    A host needs `least` texts of its topic; where there are fewer than nine they come again.
    """
    rng = random.Random(seed)
    single: dict[str, dict[str, list[str]]] = {}
    for article in articles:
        if len(article.topics) == 1:
            (topic,) = article.topics
            single.setdefault(article.lang, {}).setdefault(topic, []).append(article.text)
    hosts = [(lang, topic) for lang in single for topic, texts in single[lang].items() if len(texts) >= least]
    hosts = [(lang, topic) for lang, topic in hosts if len(single[lang]) > 1]
    rng.shuffle(hosts)
    chosen = []
    for i in range(count if hosts else 0):
        lang, host = hosts[i % len(hosts)]
        guest = rng.choice([topic for topic in single[lang] if topic != host])
        texts = rng.sample(single[lang][host], min(PARTS - 1, len(single[lang][host])))
        parts = tuple(texts[k % len(texts)] for k in range(PARTS - 1))
        chosen.append(Mixed(lang, host, guest, parts, rng.choice(single[lang][guest])))
    return chosen


def two_topics(backend: Backend, mixed: Sequence[Mixed]) -> dict[str, Any]:
    """Recall of both topics of long articles by the position of the guest, beside the recall on the parts alone.

    `relative` is the lesser of the two recalls, each over that on its parts alone.
    """
    texts = sorted({text for m in mixed for text in (*m.parts, m.alien)})
    answers = backend.classify([Request(str(i), text) for i, text in enumerate(texts)])
    alone = dict(zip(texts, answers, strict=True))

    def has(answer: Answer, topic: str) -> bool:
        return answer.topics[topic][1]

    def kept(recall: float, alone: float) -> float:
        return recall / alone if alone else 0.0

    host_alone = float(np.mean([has(alone[text], m.host) for m in mixed for text in m.parts]))
    guest_alone = float(np.mean([has(alone[m.alien], m.guest) for m in mixed]))
    asked = [Request(f"{i} {k}", m.at(k)) for k in range(PARTS) for i, m in enumerate(mixed)]
    long = backend.classify(asked)
    positions = []
    for k in range(PARTS):
        here = long[k * len(mixed) : (k + 1) * len(mixed)]
        host = float(np.mean([has(answer, m.host) for m, answer in zip(mixed, here, strict=True)]))
        guest = float(np.mean([has(answer, m.guest) for m, answer in zip(mixed, here, strict=True)]))
        wrong = [
            sum(on for label, (_, on) in answer.topics.items() if label not in (m.host, m.guest))
            for m, answer in zip(mixed, here, strict=True)
        ]
        positions.append(
            {
                "host": host,
                "guest": guest,
                # The weaker of the two: nine texts make up for each other, one that is overlooked is lost.
                "relative": min(kept(host, host_alone), kept(guest, guest_alone)),
                "others": float(np.mean(wrong)),
            }
        )
    return {"articles": len(mixed), "host alone": host_alone, "guest alone": guest_alone, "positions": positions}


def claims(backend: Backend, sets: Mapping[str, Sequence[Article]]) -> dict[str, dict[str, Any]]:
    """Stance on texts of public sets, each with its own target; macro-F1 over the classes that the set has.

    An answer outside these classes is an error. Claims that are longer than a target may be are cut.
    """
    figures = {}
    for name, articles in sets.items():
        answers = backend.classify([Request(a.id, a.text, (a.pairs[0].target[:MOST_TARGET],)) for a in articles])
        truth = np.array([a.pairs[0].stance for a in articles])
        of = metrics.stance_metrics(truth, np.array([answer.stance[0] for answer in answers]), STANCES)
        classes = [STANCES[i] for i in np.unique(truth)]
        figures[name] = {
            "texts": len(articles),
            "targets": len({a.pairs[0].target for a in articles}),
            "macro_f1": float(np.mean([of["f1"][c] for c in classes])),
            "favor_against": (of["f1"]["favor"] + of["f1"]["against"]) / 2,
            "f1": {c: of["f1"][c] for c in classes},
            "ece": of["ece"],
        }
    return figures
