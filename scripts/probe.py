#!/usr/bin/env python3
"""Probe a served model where a test file doesn't: harmless edits, long articles of two topics, claims about articles.

All through the service, on the tuning split and on the parts of public stance sets that training holds out. Each
probe's figures are written as soon as they are there; probes that the file has already are not run again.

    scripts/probe.py --url http://127.0.0.1:8080 --data ../shared/data --out runs/default/probes.json
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasnif_train import config as configuration
from tasnif_train import probes
from tasnif_train.service import Service

CLAIMS = ("farexstance-article", "unifiedfc", "mawqif")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="base address of a running service")
    parser.add_argument("--model", help="ask the service for this model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "configs/default.toml")
    parser.add_argument("--out", type=Path, default=Path("runs/default/probes.json"))
    parser.add_argument("--mixtures", type=int, default=40, help="long articles of two topics, each in ten orders")
    parser.add_argument("--limit", type=int, help="only so many articles and claims of a set")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    config = configuration.load(args.config)
    service = Service(args.url, args.model)
    _, articles = configuration.read_split(config, args.data)
    extras = {extra.name: extra for extra in config.extra if extra.name in CLAIMS}
    work: dict[str, Callable[[], Any]] = {
        "edits": lambda: probes.edits(service, articles[: args.limit]),
        "two_topics": lambda: probes.two_topics(service, probes.mixtures(articles, args.mixtures)),
        "claims": lambda: probes.claims(
            service,
            {k: extra.read(args.data, config.holdout_percent)[1][: args.limit] for k, extra in extras.items()},
        ),
    }
    version = service.version()
    figures: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    if figures.get("model") != version:
        figures = {"model": version}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name, probe in work.items():
        if name not in figures:
            logging.info("%s", name)
            figures[name] = probe()
            args.out.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
