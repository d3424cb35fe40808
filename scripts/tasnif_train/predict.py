"""Raw logits of articles under a torch model, and how the windows of one article become one answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from tasnif_train.config import SequenceConfig
from tasnif_train.data import UNRELATED, Article, Foreign
from tasnif_train.model import Classifier, collate
from tasnif_train.sequence import Encoded, Layout, assemble, windows

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """A text and one target; the empty target asks for the main subject."""

    text: str
    target: str = ""


@dataclass(frozen=True)
class Windowed:
    """Raw logits of each window of one question."""

    topics: F64
    stance: F64
    tokens: npt.NDArray[np.int64]


def layout_of(tokenizer: Tokenizer, config: SequenceConfig) -> Layout:
    prefix = tokenizer.encode(config.prefix, add_special_tokens=False).ids
    return Layout(config.tokens, config.target_tokens, tuple(prefix), config.overlap, config.template == "shared")


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids without special tokens: parts are tokenized one by one and joined by `assemble`."""
    return [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def by_length(sequences: Sequence[Encoded], tokens: int) -> list[list[int]]:
    """Indices in batches of about `tokens` padded positions, sequences of like length together."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i].ids))
    batches: list[list[int]] = []
    for i in order:
        width = len(sequences[i].ids)
        if batches and width * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


@torch.inference_mode()
def predict(
    model: Classifier,
    tokenizer: Tokenizer,
    layout: Layout,
    questions: Sequence[Question],
    batch_tokens: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> list[Windowed]:
    """Logits of every window of every question."""
    model.eval()
    device = next(model.parameters()).device
    texts = encode(tokenizer, [q.text for q in questions])
    targets = encode(tokenizer, [q.target for q in questions])
    sequences: list[Encoded] = []
    owners: list[list[int]] = []
    for group in together(questions, layout.shared):
        asked = [targets[i] for i in group]
        for window in windows(texts[group[0]], layout.room(asked[0]), layout.overlap):
            sequences.append(assemble(layout, asked, window))
            owners.append(group)
    topics = np.zeros((len(sequences), model.topics.out_features))
    stance: list[F64] = [np.zeros(0)] * len(sequences)
    done = 0
    for indices in by_length(sequences, batch_tokens):
        topic_logits, stance_logits = model(collate([sequences[i] for i in indices]).to(device))
        topics[indices] = topic_logits.double().cpu().numpy()
        for i, logits in zip(indices, stance_logits.double().cpu().numpy(), strict=True):
            stance[i] = logits
        done += len(indices)
        if progress:
            progress(done, len(sequences))
    rows: list[list[tuple[int, int]]] = [[] for _ in questions]
    for row, group in enumerate(owners):
        for branch, owner in enumerate(group):
            rows[owner].append((row, branch))
    return [
        Windowed(
            topics[[row for row, _ in own]],
            np.array([stance[row][branch] for row, branch in own]),
            np.array([sequences[row].text_tokens for row, _ in own]),
        )
        for own in rows
    ]


def together(questions: Sequence[Question], shared: bool, most: int = 16) -> list[list[int]]:
    """Indices of the questions that one sequence answers: in the shared layout, up to `most` of the same text."""
    if not shared:
        return [[i] for i in range(len(questions))]
    by_text: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        by_text.setdefault(question.text, []).append(i)
    return [own[i : i + most] for own in by_text.values() for i in range(0, len(own), most)]


@dataclass(frozen=True)
class HeldOut:
    """The questions that a set of annotated articles asks, with their answers.

    One question for the topics and the main subject of each article, one for each pair, one with a foreign
    target for each article.
    """

    articles: list[Article]
    questions: list[Question]
    truth: npt.NDArray[np.int64]
    pair_article: npt.NDArray[np.int64]

    @property
    def empty(self) -> slice:
        return slice(0, len(self.articles))

    @property
    def pairs(self) -> slice:
        return slice(len(self.articles), len(self.questions))


def held_out_questions(articles: Sequence[Article], seed: int = 7) -> HeldOut:
    """`truth` and `pair_article` go with `questions[pairs]`: the pairs, then the foreign targets."""
    rng = random.Random(seed)
    foreign = Foreign(articles)
    pairs: list[tuple[Question, int, int]] = []
    aliens: list[tuple[Question, int, int]] = []
    for i, article in enumerate(articles):
        pairs += [(Question(article.text, p.target), p.stance, i) for p in article.pairs]
        if target := foreign.draw(article, rng, same_language=0.5):
            aliens.append((Question(article.text, target), UNRELATED, i))
    both = pairs + aliens
    return HeldOut(
        list(articles),
        [Question(a.text) for a in articles] + [q for q, _, _ in both],
        np.array([s for _, s, _ in both]),
        np.array([i for _, _, i in both]),
    )
