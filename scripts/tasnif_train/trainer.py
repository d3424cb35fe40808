"""The training loop: batches of like length, a schedule by steps or by the clock, checkpoints, evaluation."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from tasnif_train import attention, calibration, data, metrics
from tasnif_train.config import Config
from tasnif_train.corpus import Corpus
from tasnif_train.data import Draw
from tasnif_train.model import Classifier, collate, parameter_groups
from tasnif_train.predict import encode, held_out_questions, layout_of, predict
from tasnif_train.sequence import Encoded, assemble, both, nearest_start

log = logging.getLogger("train")


@dataclass(frozen=True)
class Example:
    """A sequence with its labels; `known` masks the topic loss."""

    sequence: Encoded
    topics: list[float]
    known: list[float]
    stances: list[int]


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0
    epoch: int = 0
    batch_in_epoch: int = 0
    seconds: float = 0.0
    tokens: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Owns the model, the optimizer and the order of the data; `run` goes on from wherever `progress` is."""

    def __init__(
        self,
        config: Config,
        model: Classifier,
        tokenizer: Tokenizer,
        corpus: Corpus,
        out: Path,
        device: torch.device,
        minutes: float | None = None,
        bf16: bool = False,
    ) -> None:
        self.config = config
        self.model = model.to(device)
        self.tokenizer = tokenizer
        self.corpus = corpus
        self.labels = list(corpus.labels)
        self.held_out = held_out_questions(corpus.held_out)
        self.out = out
        self.device = device
        self.minutes = minutes
        self.bf16 = bf16
        if bf16 and device.type == "cpu":
            attention.use(model.trunk)
        self.layout = layout_of(tokenizer, config.sequence)
        self.foreign = data.Foreign(corpus.training)
        optim = config.optim
        groups = parameter_groups(model, optim.lr, optim.head_lr, optim.layer_decay, optim.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6, fused=True)
        self.progress = Progress()
        per_epoch = len(corpus.training) + sum(count for count, _ in corpus.extra)
        self.total_steps = math.ceil(per_epoch / optim.batch * optim.epochs)

    def draws(self, epoch: int) -> list[Draw]:
        """What one epoch asks; a function of seed and epoch alone, so that a resumed run sees the same."""
        rng = random.Random(f"{self.config.optim.seed}/{epoch}")
        articles = list(self.corpus.training)
        for count, articles_of_set in self.corpus.extra:
            articles += data.sample_evenly(articles_of_set, count, rng)
        shared = self.layout.shared
        return [data.draw_article(a, self.foreign, self.config.sampling, rng, shared) for a in articles]

    def examples(self, draws: Sequence[Draw]) -> list[Example]:
        texts = [data.without_title(d.article.text) if d.drop_title else d.article.text for d in draws]
        targets = iter(encode(self.tokenizer, [p.target for d in draws for p in d.pairs]))
        others = iter(encode(self.tokenizer, [d.other.text for d in draws if d.other]))
        examples = []
        for draw, text in zip(draws, encode(self.tokenizer, texts), strict=True):
            own = [next(targets) for _ in draw.pairs]
            room = self.layout.room(own[0] if own else [])
            article = draw.article
            start = round((draw.crop or 0.0) * max(0, len(text) - room))
            if draw.crop is None and article.known is not None and own:
                # The articles of claims are long, and what they say of the claim may stand anywhere.
                start = nearest_start(text, own[0], room)
            window = text[start : start + room] if draw.other is None else both(text, next(others), room, draw.share)
            of = [article] if draw.other is None else [article, draw.other]
            held = [any(label in a.topics for a in of) for label in self.labels]
            examples.append(
                Example(
                    assemble(self.layout, own, window),
                    [float(holds) for holds in held],
                    [
                        float(holds or all(a.knows(label) for a in of))
                        for holds, label in zip(held, self.labels, strict=True)
                    ],
                    [pair.stance for pair in draw.pairs],
                )
            )
        return examples

    def batches(self, epoch: int) -> list[list[Example]]:
        """Batches of like length in random order.

        Lengths are jittered by a tenth before sorting: else the same texts would meet in every epoch.
        """
        rng = random.Random(f"{self.config.optim.seed}/{epoch}/batches")
        examples = self.examples(self.draws(epoch))
        examples.sort(key=lambda e: len(e.sequence.ids) * rng.uniform(0.95, 1.05))
        size = self.config.optim.batch
        batches = [examples[i : i + size] for i in range(0, len(examples), size)]
        rng.shuffle(batches)
        return batches

    def autocast(self) -> torch.autocast:
        """The trunk's products in bf16, where the run has chosen that; weights and their sums stay f32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def loss(self, batch: Sequence[Example]) -> tuple[Tensor, float, float]:
        optim = self.config.optim
        with self.autocast():
            topic_logits, stance_logits = self.model(collate([e.sequence for e in batch], multiple=16).to(self.device))
        topic_logits, stance_logits = topic_logits.float(), stance_logits.float()
        truth = torch.tensor([e.topics for e in batch], device=self.device)
        known = torch.tensor([e.known for e in batch], device=self.device)
        width = stance_logits.shape[1]
        padded = [e.stances + [data.NO_STANCE] * (width - len(e.stances)) for e in batch]
        stance = torch.tensor(padded, device=self.device, dtype=torch.long).reshape(-1)
        bce = nn.functional.binary_cross_entropy_with_logits(topic_logits, truth, reduction="none")
        # By the size of the batch, not by what is known in it: else one label of a batch of claims outweighs a batch
        # of articles.
        topic_loss = (bce * known).sum() / known.numel()
        weight = torch.tensor([1.0, 1.0, 1.0, optim.unrelated_weight], device=self.device)
        stance_loss = nn.functional.cross_entropy(
            stance_logits.reshape(-1, 4), stance, weight, ignore_index=data.NO_STANCE, reduction="sum"
        ) / max(int((stance != data.NO_STANCE).sum()), 1)
        total = optim.topic_weight * topic_loss + optim.stance_weight * stance_loss
        return total, float(topic_loss.detach()), float(stance_loss.detach())

    def done(self) -> float:
        """The share of the run that is over, by the clock if there is a budget of minutes, else by steps."""
        if self.minutes is not None:
            return self.progress.seconds / (60 * self.minutes)
        return self.progress.step / self.total_steps

    def set_learning_rate(self) -> float:
        done, warmup = self.done(), self.config.optim.warmup
        factor = min(1.0, done / warmup) if done < warmup else max(0.0, (1 - done) / (1 - warmup))
        factor = max(factor, 1e-3)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        return factor

    def stream(self) -> Iterator[list[Example]]:
        """Batches from where the progress stands, for ever."""
        while True:
            batches = self.batches(self.progress.epoch)
            while self.progress.batch_in_epoch < len(batches):
                yield batches[self.progress.batch_in_epoch]
                self.progress.batch_in_epoch += 1
            self.progress.epoch += 1
            self.progress.batch_in_epoch = 0

    def run(self, checkpoint_seconds: float = 180.0, evaluations: int = 5) -> None:
        """Train to the end of the schedule."""
        progress = self.progress
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        last_saved = last = time.monotonic()
        next_evaluation = (math.floor(self.done() * evaluations) + 1) / evaluations
        topic_mean = stance_mean = 0.0
        since = progress.step
        for batch in self.stream():
            if self.done() >= 1.0:
                break
            self.model.train()
            factor = self.set_learning_rate()
            loss, topic_loss, stance_loss = self.loss(batch)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, self.config.optim.clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            progress.tokens += sum(len(e.sequence.ids) for e in batch)
            now = time.monotonic()
            progress.seconds += now - last
            last = now
            keep = min(0.98, 1 - 1 / (progress.step - since))
            topic_mean = keep * topic_mean + (1 - keep) * topic_loss
            stance_mean = keep * stance_mean + (1 - keep) * stance_loss
            if progress.step % 10 == 0:
                log.info(
                    "step %d epoch %d done %.3f lr× %.3f topics %.4f stance %.4f norm %.2f | %.0f tokens/s, %.0f s",
                    *(progress.step, progress.epoch, self.done(), factor, topic_mean, stance_mean, float(norm)),
                    *(progress.tokens / progress.seconds, progress.seconds),
                )
            if self.done() >= next_evaluation and self.done() < 1.0:
                self.evaluate()
                next_evaluation += 1 / evaluations
            if now - last_saved > checkpoint_seconds:
                self.save()
                last_saved = time.monotonic()
            if self.minutes is None:
                # Only a run by the clock pays for evaluation and saving out of its budget.
                last = time.monotonic()
        self.evaluate()
        self.save()

    def evaluate(self) -> dict[str, Any]:
        """Held-out figures at threshold .5, uncalibrated."""
        held = self.held_out
        with self.autocast():
            answers = predict(self.model, self.tokenizer, self.layout, held.questions)
        scores = calibration.sigmoid(np.array([calibration.pool_topics(a.topics) for a in answers[held.empty]]))
        truth = np.array([[label in a.topics for label in self.labels] for a in held.articles])
        topics = metrics.topic_metrics(truth, scores, scores >= 0.5, self.labels)
        plain = calibration.StanceCalibration()
        stance_scores = np.array([calibration.pool_stance(a.stance, a.tokens, plain) for a in answers[held.pairs]])
        stance = metrics.stance_metrics(held.truth, stance_scores, data.STANCES)
        entry = {"step": self.progress.step, "topics": topics, "stance": stance}
        self.progress.history.append(entry)
        log.info(
            "EVAL step %d: topics micro %.3f macro %.3f mAP %.3f | stance macro3 %.3f macro4 %.3f %s",
            *(self.progress.step, topics["micro_f1"], topics["macro_f1"], topics["map"]),
            *(stance["macro_f1_3"], stance["macro_f1_4"]),
            {k: round(v, 3) for k, v in stance["f1"].items()},
        )
        return entry

    def save(self) -> None:
        """Write the checkpoint beside its place and move it there: a kill never leaves half a file."""
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            "model": {k: v for k, v in self.model.state_dict().items() if "word_embeddings" not in k},
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "progress": asdict(self.progress),
            "labels": self.labels,
        }
        temporary = self.out / "checkpoint.tmp"
        torch.save(state, temporary)
        temporary.replace(self.out / "checkpoint.pt")

    def resume(self) -> bool:
        """Load the checkpoint, if there is one."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        self.progress = Progress(**state["progress"])
        return True
