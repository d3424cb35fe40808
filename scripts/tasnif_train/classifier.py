"""An ordinary Hugging Face sequence classifier in torch, read as the service reads it.

Each window is `<s> PREFIX TEXT </s>` by the tokenizer's own template for single texts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as hf_logging

from tasnif_train.fitting import Decision, Windows, pool_all
from tasnif_train.predict import by_length
from tasnif_train.sequence import Encoded, windows
from tasnif_train.text import TextTokenizer
from tasnif_train.topic_bundle import BundleError, Input

ROBERTAS = ("roberta", "xlm-roberta", "camembert")
SERVED = ("bert", *ROBERTAS, "distilbert", "deberta-v2", "modernbert")
"""The architectures that the service has."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Reader:
    """Texts to sequences, as the service makes them."""

    def __init__(self, tokenizer: Tokenizer, entry: Input) -> None:
        try:
            self.tokenizer = TextTokenizer(tokenizer)
            before, self.behind = self.tokenizer.around()
        except ValueError as error:
            raise BundleError(f"tokenizer.json: {error}") from error
        self.before = [*before, *self.text_ids([entry.prefix])[0]]
        self.room = entry.tokens - len(self.before) - len(self.behind)
        self.overlap = entry.overlap

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer.ids(texts)

    def sequence(self, window: Sequence[int]) -> Encoded:
        start = len(self.before)
        ids = [*self.before, *window, *self.behind]
        return Encoded(ids, (start, start + len(window)), (), len(ids))


@dataclass(frozen=True)
class Classifier:
    """A model with what it reads by."""

    model: Any
    reader: Reader

    @torch.inference_mode()
    def answer(
        self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None, batch_tokens: int = 4096
    ) -> list[Windows]:
        """Logits of every window of every text."""
        self.model.eval()
        device = self.model.device
        sequences: list[Encoded] = []
        owners: list[int] = []
        for owner, ids in enumerate(self.reader.text_ids(texts)):
            for window in windows(ids, self.reader.room, self.reader.overlap):
                sequences.append(self.reader.sequence(window))
                owners.append(owner)
        logits = np.zeros((len(sequences), self.model.config.num_labels))
        done = 0
        for rows in by_length(sequences, batch_tokens):
            ids, mask = collate([sequences[i].ids for i in rows], pad_id(self.model.config))
            out = self.model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
            logits[rows] = out.double().cpu().numpy()
            done += len(rows)
            if progress:
                progress(done, len(sequences))
        owner_of = np.array(owners)
        tokens = np.array([s.text_tokens for s in sequences])
        return [Windows(logits[owner_of == i], tokens[owner_of == i]) for i in range(len(texts))]

    def golden(
        self, texts: Sequence[str], labels: Sequence[str], decision: Decision
    ) -> list[tuple[str, dict[str, float]]]:
        """Texts with their calibrated scores. One a call: padding beside a longer one moves the last digits."""
        cases = []
        for text in texts:
            (scores,) = decision.scores(pool_all(self.answer([text]), decision.multi))
            cases.append((text, dict(zip(labels, scores.tolist(), strict=True))))
        return cases


def pad_id(config: Any) -> int:
    """Positions of RoBERTa and its kin are counted by this id; the others only mask it."""
    return int(config.pad_token_id or 0)


def collate(sequences: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), padded to the longest"""
    width = max(len(ids) for ids in sequences)
    ids = torch.full((len(sequences), width), pad, dtype=torch.long)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    return ids, mask


def positions(config: Any) -> int:
    """The longest sequence that has a position for each of its tokens."""
    longest = int(config.max_position_embeddings)
    return longest - (pad_id(config) + 1 if config.model_type in ROBERTAS else 0)


def input_of(config: Any, asked: int | None, usual: int, prefix: str) -> Input:
    """Windows of `asked` tokens, or of the usual number as far as the model has positions."""
    longest = positions(config)
    if asked is not None and not 48 <= asked <= longest:
        raise BundleError(f"--max-tokens {asked}: the model takes 48 to {longest}")
    tokens = asked or min(usual, longest)
    return Input("single", prefix, tokens, overlap=tokens // 8)


def check_served(source: str, config: Any) -> None:
    if config.model_type not in SERVED:
        raise BundleError(f"{source}: model_type {config.model_type!r} is not served; {', '.join(SERVED)} are")


def check_safetensors(folder: Path) -> None:
    """Pickles can run code when they are opened: they are not, and converting them is the owner's decision."""
    if any(folder.glob("*.safetensors")):
        return
    if pickles := sorted(path.name for pattern in PICKLES for path in folder.glob(pattern)):
        raise BundleError(
            f"{folder} has its weights only as a pickle ({', '.join(pickles)}), which can run code when it is opened. "
            "If you trust where it is from, convert it:\n"
            f"  {convert_command(folder)}"
        )
    raise BundleError(f"{folder} has no *.safetensors; name the directory that save_pretrained wrote")


def convert_command(folder: Path) -> str:
    code = (
        "import sys; from transformers import AutoModelForSequenceClassification as M; "
        "M.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])"
    )
    return f"python3 -c '{code}' '{folder}'"


def load_config(source: str) -> Any:
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise BundleError(f"{source} can't be read as a Hugging Face model: {error}") from error
    check_served(source, config)
    return config


def load_model(source: str | Path, **options: Any) -> tuple[Any, set[str]]:
    """The model in f32, and the names of the weights that the checkpoint lacks."""
    try:
        with quietly():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(source), output_loading_info=True, use_safetensors=True, **options
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise BundleError(f"{source} can't be loaded: {error}") from error
    missing = set(info["missing_keys"]) | {key[0] for key in info["mismatched_keys"]}
    return model.float(), {name for name in missing if not name.endswith(("position_ids", "token_type_ids"))}


class quietly:
    """No load reports or bars of transformers: what matters of them is said in our own words."""

    def __enter__(self) -> None:
        self.before = hf_logging.get_verbosity()
        hf_logging.set_verbosity_error()
        hf_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        hf_logging.set_verbosity(self.before)


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def write_tokenizer(source: str, folder: Path) -> Tokenizer:
    """tokenizer.json as it came, or made by transformers out of the files of a slow tokenizer."""
    if (Path(source) / "tokenizer.json").is_file():
        for name in TOKENIZER_FILES:
            if (Path(source) / name).is_file():
                shutil.copyfile(Path(source) / name, folder / name)
    else:
        try:
            with quietly():
                backend = AutoTokenizer.from_pretrained(source).backend_tokenizer
        except Exception as error:  # whatever its many ways of conversion raise, the answer is the same
            raise BundleError(f"{source} has no tokenizer.json, and transformers can't make one: {error}") from error
        (folder / "tokenizer.json").write_text(backend.to_str(), encoding="utf-8")
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def write_weights(source: Path, folder: Path) -> None:
    """The weights and config.json as they are. Copied, not linked: save_pretrained may write over its directory."""
    for path in [*source.glob("*.safetensors"), *source.glob("*.safetensors.index.json"), source / "config.json"]:
        shutil.copyfile(path, folder / path.name)


def labels_of(config: Any) -> tuple[str, ...]:
    """id2label; transformers numbers the labels (LABEL_0 …) where config.json names none."""
    named = {int(key): str(value) for key, value in config.id2label.items()}
    if sorted(named) != list(range(len(named))):
        raise BundleError("config.json: id2label must name the labels 0, 1, 2 … without a gap")
    return tuple(named[i] for i in range(len(named)))


def base_of(folder: Path) -> str:
    """What the model was made from, as older versions of transformers wrote it down."""
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(content.get("_name_or_path") or "unknown")
