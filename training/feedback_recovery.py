"""Whether known weights are found again: coverage and bias over simulated experiments.

    python -m training.feedback_recovery --runs 300 --authors 69000 -o recovery.json

A weight is a ratio, whose mean is drawn by the rare run in which a like's effect is small. The bias is
therefore that of the median over the runs.
"""

import argparse
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from reranker.columns import BoolArray, FloatArray
from training.atomic import write_json
from training.command import run_command
from training.feedback import fit_feedback
from training.feedback_evidence import weights_of
from training.feedback_experiment import UNIT, Model
from training.feedback_synthetic import SyntheticDesign, synthetic_feedback, usual_design


@dataclass(frozen=True)
class Recovery:
    """How one weight was found over the runs.

    Attributes:
        signal: its name.
        truth: its weight.
        runs: simulated experiments.
        unidentified: runs in which the interval had no end; it holds the truth then.
        coverage: share of the runs whose 95% interval holds the truth.
        coverage_error: Monte-Carlo error of it.
        median: of the weights found; runs without an end are left out.
        bias: of the median, as a share of the truth.
        bias_error: Monte-Carlo error of it, from the quartiles.
        mean_bias: of the mean, as a share of the truth.
        plain: median of what a plain regression says.
    """

    signal: str
    truth: float
    runs: int
    unidentified: int
    coverage: float
    coverage_error: float
    median: float
    bias: float
    bias_error: float
    mean_bias: float
    plain: float


def recover(design: SyntheticDesign, *, runs: int, seed: int) -> list[Recovery]:
    """The recovery of each boosted signal's weight over seeded experiments.

    Args:
        design: what is simulated, and by which model it is fitted.
        runs: experiments.
        seed: of the first; the others follow it.

    Raises:
        ValueError: fewer than 2 runs, or a weight that no run identifies.
    """
    if runs < 2:
        raise ValueError(f"runs: expected at least 2, got {runs}")
    truth = {
        name: weight for name, weight in design.weights().items() if name in design.doses and name != UNIT
    }
    values, plain = {name: np.full(runs, np.nan) for name in truth}, {name: np.zeros(runs) for name in truth}
    held = {name: np.zeros(runs, dtype=bool) for name in truth}
    for run in range(runs):
        rng = np.random.default_rng(seed + run)
        fit = fit_feedback(synthetic_feedback(design, rng))
        for term in weights_of(fit, model=design.model).terms:
            if term.name not in truth:
                continue
            held[term.name][run] = True
            if term.value is not None and term.low is not None and term.high is not None:
                values[term.name][run] = term.value
                held[term.name][run] = term.low <= truth[term.name] <= term.high
        for ratio in fit.plain:
            if ratio.signal in truth:
                plain[ratio.signal][run] = ratio.weight
    return [_recovery(name, truth[name], values[name], held[name], plain[name]) for name in truth]


def _recovery(name: str, truth: float, values: FloatArray, held: BoolArray, plain: FloatArray) -> Recovery:
    runs, known = len(values), values[np.isfinite(values)]
    if not len(known):
        raise ValueError(f"{name}: expected a run that identifies it, got none of {runs}")
    coverage = float(held.mean())
    median, spread = float(np.median(known)), float(np.subtract(*np.percentile(known, [75, 25]))) / 1.349
    return Recovery(
        signal=name,
        truth=truth,
        runs=runs,
        unidentified=runs - len(known),
        coverage=coverage,
        coverage_error=math.sqrt(coverage * (1 - coverage) / runs),
        median=median,
        bias=median / truth - 1,
        bias_error=1.2533 * spread / math.sqrt(len(known)) / truth,
        mean_bias=float(known.mean()) / truth - 1,
        plain=float(np.median(plain)),
    )


def main() -> None:
    """Print the recovery of each weight and write it as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", choices=("linear", "poisson"), default="linear")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--authors", type=int, default=69_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=None)
    options = parser.parse_args()
    model: Model = options.model
    found = recover(usual_design(model, options.authors), runs=options.runs, seed=options.seed)
    for one in found:
        sys.stdout.write(
            f"{one.signal:<10} truth {one.truth:g}  coverage {one.coverage:.3f} +- {one.coverage_error:.3f}  "
            f"median {one.median:.3f}  bias {one.bias:+.2%} +- {one.bias_error:.2%}  "
            f"mean bias {one.mean_bias:+.2%}  plain regression {one.plain:.2f}  "
            f"not identified {one.unidentified} of {one.runs}\n"
        )
    if options.output is not None:
        settings = {"model": model, "authors": options.authors, "runs": options.runs, "seed": options.seed}
        write_json(options.output, settings | {"weights": [asdict(one) for one in found]})


if __name__ == "__main__":
    run_command(main)
