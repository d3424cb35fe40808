#!/usr/bin/env python3
"""Write the report of a model, docs/evaluation/NAME.md with its pictures, from what was measured.

Figures come from files, never from this text: reports of evaluate.py, the one on the test file first, that of probe.py,
and scripts/configs/choices.toml for what each choice of the recipe brought. All must be of the same model.

    scripts/evaluation_report.py --evaluation runs/default/test.json runs/default/tuning.json \\
        --probes runs/default/probes.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from tasnif_train import report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluation", type=Path, nargs="+", required=True, help="reports of evaluate.py")
    parser.add_argument("--probes", type=Path, help="the report of probe.py")
    parser.add_argument("--choices", type=Path, default=Path(__file__).parent / "configs/choices.toml")
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation/default.md"), help="pictures go beside it")
    args = parser.parse_args()

    def read(path: Path) -> dict[str, Any]:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return figures

    evaluations = [read(path) for path in args.evaluation]
    probes = read(args.probes) if args.probes else {}
    models = {figures["model"] for figures in (*evaluations, probes) if figures}
    if len(models) > 1:
        parser.error(f"figures of several models: {', '.join(sorted(models))}; measure again what is out of date")
    chosen = tomllib.loads(args.choices.read_text(encoding="utf-8")).get("choice", [])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(report.page(evaluations, probes, chosen), encoding="utf-8")
    report.draw(args.out.parent, evaluations[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
