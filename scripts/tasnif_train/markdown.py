"""Measured figures as Markdown: the sections that model cards and reports share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Cell = str | int | float

MUST_NOT = """\
It must not be used to judge persons, to decide on moderation, employment, credit, asylum, policing or prosecution, to
rank outlets or authors by their views, or as evidence of what somebody thinks. Stance is that of one text as it
stands, not of its author. A single stance is wrong too often to act on: read the article.
"""


def number(value: Cell) -> str:
    """Fractions are written as .873."""
    return f"{value:.3f}".replace("0.", ".", 1) if isinstance(value, float) and abs(value) < 1 else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """A Markdown table with a blank line after it."""
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join([" --- "] + [" ---: "] * (len(header) - 1)) + "|"]
    return lines + ["| " + " | ".join(number(v) for v in row) + " |" for row in rows] + [""]


def headline(figures: dict[str, Any]) -> list[str]:
    """What an evaluation comes to, in one table."""
    topics, stance, main = figures["topics"], figures["stance"], figures["main_subject"]
    return table(
        ["Figure", "Value"],
        [
            ["Articles", topics["articles"]],
            ["Topics: micro-F1", topics["micro_f1"]],
            ["Topics: macro-F1", topics["macro_f1"]],
            ["Topics: mean average precision", topics["map"]],
            ["Topics: primary topic among the top two", topics["primary_in_top2"]],
            ["Topics: ECE over all label decisions", topics["ece"]],
            ["Stance: pairs (a foreign target an article among them)", stance["pairs"]],
            ["Stance: macro-F1 of favor, against, neutral", stance["macro_f1_3"]],
            ["Stance: macro-F1 of all four", stance["macro_f1_4"]],
            *([f"Stance: F1 of {name}", value] for name, value in stance["f1"].items()),
            ["Stance: ECE of the top class", stance["ece"]],
            ["Main subject: macro-F1 of favor, against, neutral", main["macro_f1_3"]],
        ],
    )


def per_label(topics: dict[str, Any]) -> list[str]:
    return table(
        ["Topic", "Positives", "Precision", "Recall", "F1", "AP"],
        [
            [label, int(v["positives"]), v["precision"], v["recall"], v["f1"], v["ap"]]
            for label, v in topics["labels"].items()
            if v["positives"]
        ],
    )


def per_group(heading: str, groups: dict[str, Any]) -> list[str]:
    """By language, by source, by whether training has seen the language."""
    return table(
        [heading, "Articles", "Topics micro-F1", "Topics macro-F1", "Pairs", "Stance macro-F1 (3)"],
        [
            [
                name,
                group["topics"]["articles"],
                group["topics"]["micro_f1"],
                group["topics"]["macro_f1"],
                group["stance"].get("pairs", 0),
                group["stance"].get("macro_f1_3", "–"),
            ]
            for name, group in groups.items()
        ],
    )


def evaluation(figures: dict[str, Any], title: str) -> str:
    """The figures of one file as a section."""
    lines = [f"### {title}", "", *headline(figures), *per_label(figures["topics"])]
    if figures["training"]:
        lines += per_group("Language of training", figures["training"])
    if figures["elsewhere"]:
        lines += per_group("In a set that training reads too", figures["elsewhere"])
    return "\n".join([*lines, *per_group("Language", figures["languages"]), *per_group("Source", figures["sources"])])
