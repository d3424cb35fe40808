"""Verdicts as the cells of a table, with the columns of `tasnif score`, and as pandas' or polars' frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from .types import STANCES, Answer, Stance, is_error

Kind = Literal["text", "float", "integer"]


def columns(labels: Sequence[str], options: Mapping[str, Any], own_targets: bool = False) -> dict[str, Kind]:
    """The columns that the answers to such a request have, in order."""
    tasks = options.get("tasks", ["topics", "stance"])
    found: dict[str, Kind] = {"id": "text", "language": "text", "language_confidence": "float"}
    if "topics" in tasks:
        found["topics"] = "text"
        found |= {f"topic_{label}": "float" for label in options.get("topics", labels)}
    if "stance" in tasks:
        for number in range(len(options.get("targets", [])) or 1):
            end = _suffix(number)
            found |= {f"target{end}": "text", f"stance{end}": "text"}
            found |= {f"stance_{name}{end}": "float" for name in STANCES}
        if own_targets:
            found["stances"] = "text"
    return found | {"tokens": "integer", "windows": "integer", "error": "text", "error_message": "text"}


def cells(answer: Answer) -> dict[str, Any]:
    """An answer's values by column, all that it has; the others are null."""
    found: dict[str, Any] = {"id": answer.get("id")}
    if is_error(answer):
        return found | {"error": answer["error"]["code"], "error_message": answer["error"]["message"]}
    if language := answer.get("language"):
        found |= {"language": language["code"], "language_confidence": language["confidence"]}
    topics = answer.get("topics", [])
    found["topics"] = "|".join(topic["label"] for topic in topics if topic["assigned"])
    found |= {f"topic_{topic['label']}": topic["score"] for topic in topics}
    stances = answer.get("stance", [])
    found["stances"] = json.dumps(stances, ensure_ascii=False) if stances else None
    for number, stance in enumerate(stances):
        found |= _stance(stance, _suffix(number))
    return found | {"tokens": answer["usage"]["tokens"], "windows": answer["usage"]["windows"]}


def like(series: Any, answers: Iterable[Answer], labels: Sequence[str], options: Mapping[str, Any]) -> Any:
    """The answers as a frame of the library that the series is of, with its index where it has one."""
    kinds = columns(labels, options)
    rows = [cells(answer) for answer in answers]
    data = {name: [row.get(name) for row in rows] for name in kinds}
    match type(series).__module__.split(".")[0]:
        case "polars":
            import polars

            dtypes = {"text": polars.String, "float": polars.Float64, "integer": polars.Int64}
            return polars.DataFrame(data, schema={name: dtypes[kind] for name, kind in kinds.items()})
        case "pandas":
            import pandas

            named = {"text": "string", "float": "float64", "integer": "Int64"}
            return pandas.DataFrame(data, index=series.index).astype(
                {name: named[kind] for name, kind in kinds.items()}
            )
        case other:
            raise TypeError(f"a Series of pandas or polars is expected, not one of {other}")


def _suffix(number: int) -> str:
    return f"_{number + 1}" if number else ""


def _stance(stance: Stance, end: str) -> dict[str, Any]:
    scores = {f"stance_{name}{end}": stance["scores"][name] for name in STANCES}
    return {f"target{end}": stance["target"], f"stance{end}": stance["label"], **scores}
