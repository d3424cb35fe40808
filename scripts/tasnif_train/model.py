"""The torch model: one BERT trunk, a topic head on the mean text state, a stance head on both segments' means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as hf_logging

from tasnif_train.sequence import Encoded

hf_logging.disable_progress_bar()


@dataclass(frozen=True)
class Batch:
    """Padded sequences.

    `mask` is [batch, positions], or, where a sequence has branches, [batch, 1, positions, positions] of who sees whom.
    `target_weights` [batch, targets, positions] and `text_weights` [batch, positions] take the mean of a segment.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    target_weights: Tensor
    text_weights: Tensor

    def to(self, device: torch.device) -> Batch:
        tensors = (self.ids, self.positions, self.mask, self.target_weights, self.text_weights)
        return Batch(*(t.to(device) for t in tensors))


def collate(sequences: Sequence[Encoded], pad: int = 1, multiple: int = 1) -> Batch:
    """The width is rounded up to a `multiple`: torch's CPU kernels are made anew for every shape they meet."""
    width = -(-max(len(s.ids) for s in sequences) // multiple) * multiple
    shape = (len(sequences), width)
    ids = torch.full(shape, pad, dtype=torch.long)
    positions = torch.arange(width).repeat(len(sequences), 1)
    # 0 is the trunk, which all see; a branch sees itself besides; -1 is padding, which none sees.
    parts = torch.full(shape, -1, dtype=torch.long)
    target_weights = torch.zeros((len(sequences), max(len(s.targets) for s in sequences), width))
    text_weights = torch.zeros(shape)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        parts[row, : sequence.trunk] = 0
        for branch, (start, end) in enumerate(sequence.branches, start=1):
            parts[row, start:end] = branch
            positions[row, start:end] = torch.arange(sequence.trunk, sequence.trunk + end - start)
        positions[row, len(sequence.ids) :] = 0
        start, end = sequence.text_span
        text_weights[row, start:end] = 1.0 / max(end - start, 1)
        for index, (start, end) in enumerate(sequence.targets):
            target_weights[row, index, start:end] = 1.0 / (end - start)
    if any(sequence.branches for sequence in sequences):
        keys, queries = parts[:, None, None, :], parts[:, None, :, None]
        mask = (keys == 0) | ((keys == queries) & (keys > 0))
    else:
        mask = (parts == 0).long()
    return Batch(ids, positions, mask, target_weights, text_weights)


class PooledDropout(nn.Module):
    """Dropout that takes its masks from a pool of noise drawn once, at a random offset each time.

    Drawing fresh noise costs 15 ns a number on a CPU, about a tenth of a training step; 8 M numbers at random
    offsets are as good as independent.
    """

    pool: Tensor | None = None
    SIZE = 1 << 23

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0 or not x.requires_grad:
            return x
        if x.device.type != "cpu" or x.numel() > self.SIZE // 2:
            return nn.functional.dropout(x, self.p)
        if PooledDropout.pool is None:
            PooledDropout.pool = torch.rand(self.SIZE).ge(self.p).float().div(1.0 - self.p)
        offset = int(torch.randint(self.SIZE - x.numel(), ()).item())
        return x * PooledDropout.pool[offset : offset + x.numel()].view_as(x)


def replace_dropout(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout):
            setattr(module, name, PooledDropout(child.p))
        else:
            replace_dropout(child)


class Classifier(nn.Module):
    """Topics and stance from one pass: logits [batch, labels] and [batch, targets, 4]."""

    def __init__(self, trunk: nn.Module, hidden: int, labels: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.topics = nn.Linear(hidden, labels)
        self.stance = nn.Linear(2 * hidden, 4)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        states = self.states(batch)
        target = torch.bmm(batch.target_weights, states)
        text = torch.einsum("bs,bsh->bh", batch.text_weights, states)
        beside = text[:, None, :].expand(-1, target.shape[1], -1)
        return self.topics(text), self.stance(torch.cat([target, beside], dim=2))

    def states(self, batch: Batch) -> Tensor:
        output = self.trunk(input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask)
        states: Tensor = output.last_hidden_state
        return states


def from_base(base: Path, labels: int, dropout: float) -> Classifier:
    """A fresh classifier on the pretrained trunk.

    Attention probabilities get no dropout: with it torch's fused CPU attention falls back to the slow path.
    """
    config = AutoConfig.from_pretrained(base)
    config.hidden_dropout_prob = dropout
    config.attention_probs_dropout_prob = 0.0
    trunk = AutoModel.from_config(config, add_pooling_layer=False, attn_implementation="sdpa")
    weights = load_file(base / "model.safetensors")
    missing, unexpected = trunk.load_state_dict(weights, strict=False)
    missing = [m for m in missing if not m.endswith(("position_ids", "token_type_ids"))]
    unexpected = [u for u in unexpected if not u.startswith("pooler.") and not u.endswith("position_ids")]
    if missing or unexpected:
        raise ValueError(f"weights of {base}: missing {missing}, unexpected {unexpected}")
    replace_dropout(trunk)
    return Classifier(trunk, config.hidden_size, labels)


def freeze(model: Classifier, layers: int) -> None:
    """Freeze the embeddings (shared by every model made from this base) and the lowest `layers` layers."""
    trunk = model.trunk
    for module in (trunk.embeddings, *trunk.encoder.layer[:layers]):
        module.requires_grad_(False)


def set_topic_prior(model: Classifier, positive_rate: Sequence[float]) -> None:
    """Begin at the base rates, or the first steps would only learn that most labels are absent."""
    prior = [math.log(max(p, 1e-3) / (1 - max(p, 1e-3))) for p in positive_rate]
    with torch.no_grad():
        model.topics.bias.copy_(torch.tensor(prior))


def parameter_groups(
    model: Classifier, lr: float, head_lr: float, layer_decay: float, weight_decay: float
) -> list[dict[str, object]]:
    """Groups by learning rate (falling towards the input) and by weight decay (matrices only)."""
    layers = len(model.trunk.encoder.layer)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = weight_decay if parameter.ndim > 1 else 0.0
        rate = head_lr
        if name.startswith("trunk.encoder.layer."):
            rate = lr * layer_decay ** (layers - 1 - int(name.split(".")[3]))
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
