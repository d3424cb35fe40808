"""The pictures of a report, as small PNG files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np

DPI = 80
LEAST = 5


@contextmanager
def _grid(path: Path, rows: int, columns: int, size: tuple[float, float]) -> Iterator[list[Any]]:
    """Axes of a picture that is written at the end; those that nothing was drawn into stay away."""
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    flat = list(axes.flat)
    yield flat
    for axis in flat:
        axis.set_visible(axis.has_data())
    # No software version or date: the same figures give the same bytes.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)


def reliability(path: Path, calibration: dict[str, Any]) -> None:
    """Confidence against the share that is right, before and after calibration; dots grow with the bin, and bins of
    fewer than `LEAST`, which say nothing, are left out."""
    with _grid(path, 1, len(calibration), (4.2 * len(calibration), 4)) as axes:
        for axis, (task, states) in zip(axes, calibration.items(), strict=True):
            axis.plot([0, 1], [0, 1], color="silver", linewidth=1)
            for when, colour in (("before", "tab:orange"), ("after", "tab:blue")):
                bins = np.array([b for b in states[when]["bins"] if b[0] >= LEAST], dtype=float)
                count, confidence, right = bins.reshape(-1, 3).T
                label = f"{when} (ECE {states[when]['ece']:.3f})"
                axis.plot(confidence, right, color=colour, linewidth=1.5, label=label)
                axis.scatter(confidence, right, s=8 + 120 * np.sqrt(count / max(count.sum(), 1)), color=colour)
            axis.set(title=task, xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
            axis.legend(loc="upper left", fontsize=8)


def precision_recall(path: Path, curves: dict[str, Sequence[Sequence[float]]], columns: int = 5) -> None:
    """One small curve a label."""
    drawn = {name: np.array(points) for name, points in curves.items() if len(points)}
    rows = -(-len(drawn) // columns)
    with _grid(path, rows, columns, (2 * columns, 1.7 * rows)) as axes:
        for axis, (name, points) in zip(axes, drawn.items(), strict=False):
            axis.plot(points[:, 0], points[:, 1], linewidth=1.2)
            axis.set(xlim=(0, 1.02), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            axis.set_title(name, fontsize=8)
            axis.tick_params(labelsize=6)


def confusion(path: Path, counts: Sequence[Sequence[int]], rows: Sequence[int], names: Sequence[str]) -> None:
    """Shares of each row's label; `rows` holds how many articles it is right for."""
    share = np.array(counts, dtype=float) / np.maximum(np.array(rows, dtype=float), 1)[:, None]
    side = 2.2 + 0.28 * len(names)
    with _grid(path, 1, 1, (side, side)) as (axis, *_):
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in zip(*np.nonzero(share >= 0.05), strict=True):
            colour = "white" if share[i, j] > 0.6 else "black"
            axis.text(
                j,
                i,
                f"{share[i, j]:.2f}"[1:] if share[i, j] < 1 else "1",
                ha="center",
                va="center",
                fontsize=6,
                color=colour,
            )
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.set(xlabel="assigned", ylabel="right")
