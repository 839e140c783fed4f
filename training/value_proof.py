"""`python -m training.value_proof -o FILE`: whether the intervals of the value fit hold the truth.

Synthetic surveys with a known table are fitted again and again; a 95% interval should hold the truth in
about 95 of 100. Where the truth is at a bound, as for a harm of 0, an interval cut there holds it more often.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from training.atomic import write_json
from training.command import run_command
from training.value import fit_value
from training.value_check import cross_fit
from training.value_interval import Interval
from training.value_sample import SIGNALS, TERMS, TRUTH, Survey, sample_items, true_bad_shares
from training.value_shares import bad_shares
from training.value_table import ValueTable

PRIOR = ValueTable(np.full(5, 0.8), np.array([0.5, 0.9, 0.5, 1.0, 0.9]), np.full(4, 0.7))
REFERENCE = "comment"
SETTINGS = {
    "small": Survey(n_viewers=600, per_viewer=20),
    "large": Survey(n_viewers=2_000, per_viewer=10, asked=0.5, yes_saying=0.08, viewer_spread=1.5),
}


def coverage(survey: Survey, seeds: Iterable[int]) -> dict[str, dict[str, float]]:
    """Per number of the table and per share: how often its interval holds the truth, and its mean error.

    `not_fitted` is the share of runs in which the number stayed at the prior.
    """
    shares = true_bad_shares()
    numbers = dict(zip(_keys(), np.concatenate([TRUTH.endorsed, TRUTH.sensitivity, TRUTH.harm]), strict=True))
    runs: dict[str, list[tuple[float, float, float, float] | None]] = {}
    for seed in seeds:
        items = sample_items(survey, seed)
        fitted = fit_value(items, PRIOR, reference=REFERENCE)
        for term in fitted.terms:
            if term.key == f"sensitivity.{REFERENCE}":
                continue
            at = (
                None
                if term.value is None or term.low is None or term.high is None
                else (term.value, term.low, term.high, float(numbers[term.key]))
            )
            runs.setdefault(term.key, []).append(at)
        if fitted.yes_saying is not None:
            runs.setdefault("yes_saying", []).append((*fitted.yes_saying, survey.yes_saying))
        for share in bad_shares(items, fitted, cross_fit(items, fitted)):
            rate, part = shares[share.signal, share.harm]
            for what, found, true in (("rate", share.rate, rate), ("part", share.part, part)):
                key = f"{what}.{share.signal}.{share.harm or 'all'}"
                runs.setdefault(key, []).append(None if found is None else _with(found, true))
    return {key: _summary(found) for key, found in runs.items()}


def _keys() -> tuple[str, ...]:
    harms = [name if name in ("angry_share", "comment_toxicity") else f"harms.{name}" for name in TERMS]
    return (*(f"endorsed.{s}" for s in SIGNALS), *(f"sensitivity.{s}" for s in SIGNALS), *harms)


def _with(found: Interval, true: float) -> tuple[float, float, float, float]:
    return found.value, found.low, found.high, true


def _summary(found: list[tuple[float, float, float, float] | None]) -> dict[str, float]:
    told = np.array([one for one in found if one is not None]).reshape(-1, 4)
    if not len(told):
        return {"not_fitted": 1.0}
    value, low, high, true = told.T
    return {
        "truth": round(float(true[0]), 5),
        "covered": round(float(((low <= true) & (true <= high)).mean()), 4),
        "bias": round(float((value - true).mean()), 5),
        "half_width": round(float((high - low).mean() / 2), 5),
        "not_fitted": round(1 - len(told) / len(found), 4),
    }


def main() -> None:
    """Reads the arguments, runs and writes the figures."""
    parser = argparse.ArgumentParser(prog="training.value_proof", description=__doc__)
    parser.add_argument("--survey", choices=SETTINGS, default="large")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    survey = SETTINGS[arguments.survey]
    found = coverage(survey, range(arguments.runs))
    write_json(arguments.output, {"runs": arguments.runs, "survey": asdict(survey), "found": found})
    covered = [one["covered"] for one in found.values() if "covered" in one]
    sys.stdout.write(f"coverage {min(covered):.3f} to {max(covered):.3f}, mean {np.mean(covered):.3f}\n")


if __name__ == "__main__":
    run_command(main)
