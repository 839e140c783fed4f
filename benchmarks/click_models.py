"""Steps of expectation-maximisation of both click models over a million slots, no two of them alike.

python benchmarks/click_models.py [--slots N] [--repeats N]
"""

import argparse
import os
from statistics import median

import numpy as np
from timing import timed

from eval.dbn import ClickedSlates, fit_dbn
from eval.position_bias import click_cells, fit_click_model

STEPS, SLOTS = 20, 5


def main() -> None:
    """Prints a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=1_000_000, help="in all, five to a slate")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    n = args.slots // SLOTS * SLOTS
    rows, clicked = np.arange(n), np.random.default_rng(1).random(n) < 0.3
    cells = click_cells(rows // SLOTS, rows % SLOTS, clicked)
    slates = ClickedSlates(rows % 1_000, clicked, np.arange(n // SLOTS + 1) * SLOTS)
    fits = {
        "position bias": lambda: fit_click_model(cells, max_steps=STEPS, tolerance=0.0).n_steps,
        "dynamic Bayesian network": lambda: fit_dbn(slates, max_steps=STEPS, tolerance=0.0).n_steps,
    }
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, {n:,} slots, {STEPS} steps")
    for name, fit in fits.items():
        seconds, steps = timed(fit, args.repeats)
        rate = n * int(steps) / median(seconds) / 1e6
        spread = f"{min(seconds):.3f}-{max(seconds):.3f} s"
        print(f"{name:26}{median(seconds):8.3f} s  {spread:>16}{rate:8.1f} M slots x steps a second")


if __name__ == "__main__":
    main()
