"""The report of a model: what was measured, as one page with pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasnif_train import markdown, pictures
from tasnif_train.data import STANCES
from tasnif_train.markdown import Cell, table

QUOTE = 200
"""Characters of a text that a report shows."""

Figures = dict[str, Any]


def goals(test: Figures, probes: Figures) -> list[str]:
    """What the model is meant to reach, and what it does; a figure that wasn't measured is left out."""
    labels = test["topics"]["labels"]
    shortcuts = test["shortcuts"]
    rows: list[tuple[str, Callable[[], float], str, float]] = [
        ("Topics micro-F1, languages of training", lambda: test["training"]["seen"]["topics"]["micro_f1"], "≥", 0.84),
        ("Topics macro-F1, languages of training", lambda: test["training"]["seen"]["topics"]["macro_f1"], "≥", 0.78),
        ("Topics micro-F1, German (not in training)", lambda: test["languages"]["de"]["topics"]["micro_f1"], "≥", 0.80),
        *(
            (f"Topics F1, {label}", lambda label=label: labels[label]["f1"], "≥", 0.82)
            for label in ("cybersecurity", "diplomacy", "terrorism", "armed-conflict")
        ),
        ("Primary topic among the top two", lambda: test["topics"]["primary_in_top2"], "≥", 0.92),
        ("Stance macro-F1 (favor, against, neutral)", lambda: test["stance"]["macro_f1_3"], "≥", 0.73),
        (
            "Stance: lead over the best of target alone and text alone",
            lambda: shortcuts["model"] - max(v for k, v in shortcuts.items() if k != "model"),
            "≥",
            0.15,
        ),
        ("F1 of `unrelated`, foreign targets", lambda: test["stance"]["f1"]["unrelated"], "≥", 0.95),
        ("FarExStance articles, macro-F1", lambda: probes["claims"]["farexstance-article"]["macro_f1"], "≥", 0.60),
        ("UnifiedFC, macro-F1", lambda: probes["claims"]["unifiedfc"]["macro_f1"], "≥", 0.60),
        ("Mawqif, F1 of favor and against", lambda: probes["claims"]["mawqif"]["favor_against"], "≥", 0.75),
        ("ECE of topics", lambda: test["topics"]["ece"], "≤", 0.03),
        ("ECE of stance", lambda: test["stance"]["ece"], "≤", 0.05),
        (
            "Score moved by a harmless edit (the worst)",
            lambda: max(v["topics"] for v in probes["edits"].values()),
            "≤",
            0.05,
        ),
        (
            "Score moved, assigned topics alone (the worst edit)",
            lambda: max(v["assigned"] for v in probes["edits"].values()),
            "≤",
            0.05,
        ),
        (
            "Long articles of two topics: relative recall (the worst position)",
            lambda: min(p["relative"] for p in probes["two_topics"]["positions"]),
            "≥",
            0.90,
        ),
    ]
    measured: list[list[Cell]] = []
    for name, figure, sign, goal in rows:
        try:
            value = figure()
        except KeyError:
            continue
        reached = value >= goal if sign == "≥" else value <= goal
        measured.append([name, f"{sign} {markdown.number(goal)}", value, "yes" if reached else "no"])
    return table(["Figure", "Goal", "Measured", "Reached"], measured)


def confusions(figures: Figures, most: int = 12) -> list[str]:
    labels = sorted(figures["topics"]["labels"])
    counts = figures["confusion"]
    pairs = [
        (counts[i][j], right, wrong)
        for i, right in enumerate(labels)
        for j, wrong in enumerate(labels)
        if i != j and counts[i][j]
    ]
    top = sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:most]
    stance = figures["stance"]["confusion"]
    return [
        *table(["Right, and missed", "Assigned in its place", "Articles"], [[r, w, n] for n, r, w in top]),
        "![Where one topic is right and another is assigned](confusion.png)",
        "",
        "On the diagonal the share of articles that got the right topic; beside it, of those that didn't, which wrong "
        "topics stood in its place. Stance, the right class by row:",
        "",
        *table(["", *STANCES], [[name, *stance[i]] for i, name in enumerate(STANCES)]),
    ]


def calibration(figures: Figures) -> list[str]:
    states = figures["calibration"]
    return [
        *table(
            ["Expected calibration error", "Before", "After"],
            [[task, v["before"]["ece"], v["after"]["ece"]] for task, v in states.items()],
        ),
        "![Reliability](reliability.png)",
        "",
        "Topics: all label decisions; stance: the top class; bins of fewer than five are not drawn. Before: the logits "
        "as they come (found from the served scores, exactly so for texts of one window).",
        "",
    ]


def shortcuts(figures: Figures) -> list[str]:
    of = figures["shortcuts"]
    best = max(v for k, v in of.items() if k != "model")
    return [
        "Macro-F1 of favor, against and neutral where `unrelated` may not be answered. Served: the model itself, asked "
        "with the text replaced by “…”, or with no target. Trained: character n-grams of one side and logistic "
        "regression on the pairs of the training split.",
        "",
        *table(["What is read", "Macro-F1 (3)"], [[name, value] for name, value in of.items()]),
        f"The model leads the best of them by {100 * (of['model'] - best):.1f} points.",
        "",
    ]


def probed(probes: Figures) -> list[str]:
    lines: list[str] = []
    if claims := probes.get("claims"):
        lines += [
            "### Claims about articles and posts",
            "",
            "Parts of public sets that training holds out, split by claim and text.",
            "",
            *table(
                ["Set", "Texts", "Targets", "Macro-F1 of its classes", "F1 of favor and against", *STANCES, "ECE"],
                [
                    [name, v["texts"], v["targets"], v["macro_f1"], v["favor_against"]]
                    + [v["f1"].get(c, "–") for c in STANCES]
                    + [v["ece"]]
                    for name, v in claims.items()
                ],
            ),
        ]
    if edits := probes.get("edits"):
        lines += [
            "### Harmless edits",
            "",
            "How far calibrated scores move, in the mean, on articles of the tuning split that the edit changes: "
            "topics over all labels, over those assigned before or after, and the share of these whose assignment "
            "changes; the four stances of the article's own targets, and the share of targets whose stance changes.",
            "",
            *table(
                ["Edit", "Articles", "Topics", "Assigned topics", "Assignments changed", "Stance", "Stances changed"],
                [[name, *v.values()] for name, v in edits.items()],
            ),
        ]
    if two := probes.get("two_topics"):
        lines += [
            "### Two topics in a long article",
            "",
            f"{two['articles']} articles of ten texts, nine of one topic and one of another in the same language, at "
            "each of ten positions. Relative recall is the lesser of the two, each over that of its texts alone "
            f"({markdown.number(two['host alone'])} and {markdown.number(two['guest alone'])}); others are topics "
            "assigned beside the two.",
            "",
            *table(
                ["Position", "Recall of the nine's topic", "Recall of the one's topic", "Relative recall", "Others"],
                [[k + 1, *p.values()] for k, p in enumerate(two["positions"])],
            ),
        ]
    return lines


def quote(text: str) -> str:
    """The beginning of a text as one line that Markdown takes for text."""
    line = " ".join(text.split())
    short = line if len(line) <= QUOTE else line[: QUOTE - 1].rstrip() + "…"
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in short)


def errors(of: dict[str, list[Figures]]) -> list[str]:
    """Examples of the tuning split, by a rule that is in evaluation.errors."""

    def shown(entry: Figures, heading: str) -> list[str]:
        return [f"- {heading} ({entry['lang']}) {quote(entry['text'])}", ""]

    def topics(entry: Figures, what: str) -> list[str]:
        wanted, got = ", ".join(entry["wanted"]) or "nothing", ", ".join(entry["got"]) or "nothing"
        score = markdown.number(entry["score"])
        return shown(entry, f"**{entry['label']}** {what} at {score}; wanted {wanted}; got {got}.")

    lines = [
        "From the tuning split, the most confident errors: wrong topics of the highest score and right ones of the "
        "lowest, one a label; wrong stances of the highest score, two for each pair of right and given class.",
        "",
    ]
    for entry in of["wrong"]:
        lines += topics(entry, "assigned")
    for entry in of["missed"]:
        lines += topics(entry, "missed")
    for entry in of["stance"]:
        heading = (
            f"Toward “{quote(entry['target'])}”: wanted {entry['wanted']}, got **{entry['got']}** "
            f"at {markdown.number(entry['score'])}."
        )
        lines += shown(entry, heading)
    return lines


def choices(of: Sequence[Figures]) -> list[str]:
    return table(
        ["Choice", "Instead of", "Measure", "With", "Without", "Kept"],
        [[c["what"], c["instead"], c["measure"], c["with"], c["without"], "yes" if c["kept"] else "no"] for c in of],
    )


def page(evaluations: Sequence[Figures], probes: Figures, chosen: Sequence[Figures]) -> str:
    """The report; the first evaluation is the one that it is about."""
    test, *others = evaluations
    lines = [
        f"# {test['model']}: evaluation",
        "",
        f"Generated by `scripts/make_report.sh`. Data: {test['data']}; engine: {test['engine']}. Tuning split: the "
        "part of the training file that is kept out of training, on which calibration and thresholds are fitted.",
        "",
        "## Goals",
        "",
        *goals(test, probes),
        "## Topics and stance",
        "",
        markdown.evaluation(test, test["data"]),
        *(line for e in others for line in (f"### {e['data']}", "", *markdown.headline(e))),
        "## Confusion",
        "",
        *confusions(test),
        "## Calibration",
        "",
        *(calibration(test) if "calibration" in test else []),
        "## Precision and recall",
        "",
        "![Precision over recall of each topic](precision-recall.png)",
        "",
        "Precision (upward) over recall (to the right) of each topic with positives, by the score.",
        "",
        "## Does it read both, the target and the text?",
        "",
        *shortcuts(test),
    ]
    if probes:
        lines += ["## Probes", "", *probed(probes)]
    if chosen:
        lines += ["## What each choice brought", "", *choices(chosen)]
    for evaluation in evaluations:
        if "errors" in evaluation:
            lines += ["## Errors", "", *errors(evaluation["errors"])]
    lines += ["## What it must not be used for", "", markdown.MUST_NOT]
    return "\n".join(lines)


def draw(folder: Path, figures: Figures) -> None:
    labels = sorted(figures["topics"]["labels"])
    positives = [figures["topics"]["labels"][label]["positives"] for label in labels]
    pictures.confusion(folder / "confusion.png", figures["confusion"], positives, labels)
    pictures.precision_recall(folder / "precision-recall.png", figures["precision_recall"])
    if "calibration" in figures:
        pictures.reliability(folder / "reliability.png", figures["calibration"])
