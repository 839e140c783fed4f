"""The curves of a training run, as a table and as a picture."""

import csv
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training.checkpoint import Dev, Losses

_SMOOTHED_OVER = 100


def write_curves(losses: Losses, dev: Dev, out: Path) -> None:
    """Writes curves.csv (step, loss, dev; empty where not measured) and curves.png to the directory."""
    measured = {step: score for step, score in dev if not math.isnan(score)}
    with (out / "curves.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", "loss", "dev_mean_auroc"])
        table.writerows([i + 1, f"{loss:.5f}", measured.get(i + 1, "")] for i, loss in enumerate(losses))
    width = min(_SMOOTHED_OVER, len(losses))
    smooth = np.convolve(losses, np.full(width, 1 / width), mode="valid")
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(np.arange(len(smooth)) + width, smooth)
    left.set(xlabel="step", ylabel=f"loss, mean of {width} steps")
    right.plot([step for step, _ in dev], [score for _, score in dev], marker="o")
    right.set(xlabel="step", ylabel="dev: mean AUROC within sources")
    figure.savefig(out / "curves.png", dpi=120)
