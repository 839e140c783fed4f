"""A simulated extra-feedback experiment whose effects are known, to prove that they are recovered.

Popular authors receive more and post more whatever happens, so that a plain regression of posts on feedback
is wrong. The numbers are assumptions; none is Facebook's.

    python -m training.feedback_synthetic experiment.parquet --authors 69000 --seed 0
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reranker.columns import FloatArray, StringColumn
from reranker.tables import Array
from reranker.writing import atomic
from training.command import run_command
from training.feedback_experiment import CONTROL, FeedbackExperiment, Model

COUNTRIES = ("AA", "BB", "CC", "DD", "EE")  # codes of no country
_EFFECTS = {"like": 0.02, "love": 0.04, "comment": 0.2, "reshare": 0.1}
_LOG_EFFECTS = {"like": 0.002, "love": 0.004, "comment": 0.02, "reshare": 0.01}
_USUAL = {"like": 15.0, "love": 3.0, "comment": 3.0, "reshare": 1.0}
_DOSES = {"like": 20.0, "comment": 4.0, "reshare": 5.0}
_LOG_DOSES = {"like": 80.0, "comment": 10.0, "reshare": 20.0}


@dataclass(frozen=True)
class SyntheticDesign:
    """What is simulated; as it stands, a comment is worth 10 likes, a reshare 5 and a love reaction 2.

    Attributes:
        n_authors: each in one arm.
        n_periods: rows per author.
        model: "linear", each unit of feedback adds posts; "poisson", it multiplies their rate.
        effects: per unit of feedback: posts, or the change of the log rate.
        usual: mean feedback per period without a boost, less the spread between authors.
        doses: feedback added in the arm of a signal; a signal without one is received, never boosted.
        confounding: how much of an author's popularity goes into posting too; 0 is none. Part of the
            popularity is of the period alone, so that counts from before cannot adjust for it.
        uptake: share of the assigned feedback that is delivered.
    """

    n_authors: int = 69_000
    n_periods: int = 1
    model: Model = "linear"
    effects: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(_EFFECTS))
    usual: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(_USUAL))
    doses: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(_DOSES))
    confounding: float = 0.6
    uptake: float = 0.8

    def weights(self) -> dict[str, float]:
        """The true weights: effects over that of a like."""
        return {name: effect / self.effects["like"] for name, effect in self.effects.items()}


def usual_design(model: Model, n_authors: int) -> SyntheticDesign:
    """The design that recovery is proven with; its weights are the same in either model."""
    if model == "linear":
        return SyntheticDesign(n_authors)
    return SyntheticDesign(n_authors, model=model, effects=_LOG_EFFECTS, doses=_LOG_DOSES)


def synthetic_feedback(design: SyntheticDesign, rng: np.random.Generator) -> FeedbackExperiment:
    """A simulated experiment: a control and one arm per boosted signal, of equal shares.

    Raises:
        ValueError: a signal is boosted without an effect or a usual amount.
    """
    for name in design.doses:
        if name not in design.effects or name not in design.usual:
            raise ValueError(f"doses.{name}: expected an effect and a usual amount beside it, got none")
    n_arms, names = len(design.doses) + 1, tuple(design.effects)
    by_author = rng.permutation(np.arange(design.n_authors, dtype=np.int64) % n_arms)
    country = rng.integers(0, len(COUNTRIES), design.n_authors)
    popularity = 0.7 * rng.standard_normal(design.n_authors)
    habit = design.confounding * popularity + 0.3 * rng.standard_normal(design.n_authors) + 0.1 * country
    earlier = _feedback(design, popularity, np.zeros((len(names), design.n_authors)), rng)
    before = {"posts": _posts(design, habit, earlier, rng)} | dict(zip(names, earlier, strict=True))
    author = np.repeat(np.arange(design.n_authors, dtype=np.int64), design.n_periods)
    arm = by_author[author]
    added = np.zeros((len(names), len(author)))
    for i, (name, dose) in enumerate(design.doses.items(), start=1):
        added[names.index(name), arm == i] = dose
    fashion = 0.5 * rng.standard_normal(len(author))  # of the period: more feedback and more posts
    received = _feedback(design, popularity[author] + fashion, added, rng)
    period = np.tile(np.arange(design.n_periods, dtype=np.int32), design.n_authors)
    boosted = [i for i, name in enumerate(names) if name in design.doses]
    return FeedbackExperiment(
        author=author,
        arm=arm,
        arm_names=(CONTROL, *(f"{name}:{dose:g}" for name, dose in design.doses.items())),
        boosted=tuple(names[i] for i in boosted),
        assigned=added[boosted],
        signals=names,
        received=received,
        posts=_posts(design, habit[author] + design.confounding * fashion, received, rng),
        before={name: values[author] for name, values in before.items()},
        places={
            "country": StringColumn(country[author].astype(np.int32), COUNTRIES),
            "period": StringColumn(period, tuple(str(i + 1) for i in range(design.n_periods))),
        },
    )


def feedback_to_arrow(experiment: FeedbackExperiment) -> pa.Table:
    """The experiment in the columns that `read_feedback` reads."""
    columns: dict[str, Array] = {
        "author": pa.array(experiment.author),
        "arm": pa.array(np.array(experiment.arm_names)[experiment.arm]),
        "posts": pa.array(experiment.posts),
    }
    for name, values in zip(experiment.boosted, experiment.assigned, strict=True):
        columns[f"assigned_{name}"] = pa.array(values)
    for name, values in zip(experiment.signals, experiment.received, strict=True):
        columns[f"received_{name}"] = pa.array(values)
    for name, values in experiment.before.items():
        columns[f"before_{name}"] = pa.array(values, mask=np.isnan(values))
    for name, column in experiment.places.items():
        columns[name] = pa.array(column.to_list(), pa.string())
    return pa.table(columns)


def main() -> None:
    """Write a simulated experiment and say what is true in it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("output", type=Path, help="a name that ends in .parquet")
    parser.add_argument("--authors", type=int, default=69_000)
    parser.add_argument("--model", choices=("linear", "poisson"), default="linear")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.output.suffix != ".parquet":
        raise ValueError(f"{options.output}: expected a name that ends in .parquet, got another")
    if options.authors < 1:
        raise ValueError(f"--authors: expected at least 1, got {options.authors}")
    design = usual_design(options.model, options.authors)
    table = feedback_to_arrow(synthetic_feedback(design, np.random.default_rng(options.seed)))
    with atomic(options.output) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    weights = ", ".join(f"{name} {weight:g}" for name, weight in design.weights().items())
    sys.stdout.write(f"{table.num_rows:,} rows: {options.output}\ntrue weights: {weights}\n")


def _feedback(
    design: SyntheticDesign, popularity: FloatArray, added: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """(S, n) feedback received; some of what was to be added, (S, n), is not delivered."""
    usual = np.array([design.usual[name] for name in design.effects])
    luck = 0.3 * rng.standard_normal(added.shape)
    own = usual[:, None] * np.exp(popularity + luck)
    return rng.poisson(own + design.uptake * added).astype(np.float64)


def _posts(
    design: SyntheticDesign, habit: FloatArray, received: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """(n,) original posts, drawn from the rate that habit and feedback make."""
    gained = np.array(list(design.effects.values())) @ received
    rate = np.exp(habit) + gained if design.model == "linear" else np.exp(habit + gained)
    return np.asarray(rng.poisson(np.maximum(rate, 0.0)), dtype=np.float64)


if __name__ == "__main__":
    run_command(main)
