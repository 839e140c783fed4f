"""Does the fit find what is true? `python -m training.survey_recovery --people 3000 --runs 300`.

Samples are drawn from a world whose weights are known, each with its own seed, and fitted. The table says
how often the 95% intervals hold the truth, and how far the estimates are off on average.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reranker.columns import FloatArray
from training.survey import fit_survey
from training.survey_responses import responses_from_arrow
from training.survey_sample import MULTIPLIERS, N_ITEMS, SHARES, WEIGHTS, sample, world
from training.survey_variance import PARTS


@dataclass(frozen=True, eq=False)
class Recovery:
    """Of t terms in s samples.

    Attributes:
        names: weights, multipliers, then parts of the variance.
        truth: (s, t); the parts of the variance are those of the questions that each sample asked.
        value, low, high: (s, t) estimates and 95% intervals.
    """

    names: tuple[str, ...]
    truth: FloatArray
    value: FloatArray
    low: FloatArray
    high: FloatArray

    def coverage(self) -> FloatArray:
        """(t,) share of the intervals that hold the truth."""
        return np.asarray(((self.low <= self.truth) & (self.truth <= self.high)).mean(axis=0))

    def bias(self) -> FloatArray:
        """(t,) mean error, relative to the truth."""
        return np.asarray((self.value - self.truth).mean(axis=0) / self.truth.mean(axis=0))

    def bias_error(self) -> FloatArray:
        """(t,) standard error of the bias, from the spread of the samples."""
        spread = (self.value - self.truth).std(axis=0, ddof=1) / np.sqrt(len(self.value))
        return np.asarray(spread / np.abs(self.truth.mean(axis=0)))


def recover(n_people: int, seeds: Sequence[int], *, n_items: int = N_ITEMS) -> Recovery:
    """Estimates from one sample per seed, beside the truth; the units, 1 by definition, are left out.

    Args:
        n_people: respondents in each sample.
        seeds: of the samples; two or more.
        n_items: answered by each respondent.
    """
    weights = {name: value for name, value in {**WEIGHTS, **MULTIPLIERS}.items() if value != 1.0}
    names = (*weights, *(*PARTS, "relation_less_kind"))
    truth, rows = [], []
    for seed in seeds:
        responses = responses_from_arrow(sample(n_people, n_items=n_items, seed=seed))
        found = fit_survey(responses, SHARES)
        asked = responses.counts().sum(axis=3)
        parts = world().variance(asked / asked.sum(axis=(1, 2), keepdims=True))
        terms = {term.name: (term.value, term.low, term.high) for term in found.weights.identified()}
        terms |= {name: (one.value, one.low, one.high) for name, one in found.variance.items()}
        rows.append([terms[name] for name in names])
        truth.append([*weights.values(), *parts.values()])
    cube = np.array(rows, dtype=np.float64)  # (samples, terms, 3)
    return Recovery(names, np.array(truth), cube[:, :, 0], cube[:, :, 1], cube[:, :, 2])


def report(found: Recovery) -> str:
    """The table, and what of the spread around 95% is chance."""
    n = len(found.value)
    chance = 1.96 * float(np.sqrt(0.95 * 0.05 / n))
    lines = [f"{'term':32s} {'truth':>7s} {'mean':>8s} {'bias':>16s} {'coverage':>9s}"]
    for at, name in enumerate(found.names):
        bias = f"{found.bias()[at]:+.2%} +-{1.96 * found.bias_error()[at]:.2%}"
        mean = found.value[:, at].mean()
        line = (
            f"{name:32s} {found.truth[:, at].mean():7.4g} {mean:8.4g} {bias:>16s} {found.coverage()[at]:9.1%}"
        )
        lines.append(line)
    lines.append(
        f"all terms: {found.coverage().mean():.1%}; by chance one term of {n} runs: 95% +-{chance:.1%}"
    )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m training.survey_recovery", description=__doc__)
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--items", type=int, default=N_ITEMS)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the first sample")
    given = parser.parse_args(arguments)
    if given.runs < 2 or given.people < 1 or given.items < 1 or given.seed < 0:
        parser.error("expected 2 runs or more, people and items above 0, a seed from 0")
    seeds = range(given.seed, given.seed + given.runs)
    sys.stdout.write(report(recover(given.people, seeds, n_items=given.items)))


if __name__ == "__main__":
    main()
