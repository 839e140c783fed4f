"""A made-up survey whose true weights are known: `python -m training.survey_sample -o answers.parquet`.

It has the size of the one that the documents tell of, 69,000 people in five countries. All its numbers are
assumptions: they are what a fit has to find again, not what people think.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from reranker.columns import FloatArray, IntArray
from reranker.tables import Array
from reranker.writing import atomic
from training.survey_variance import PARTS, RESIDUAL

N_PEOPLE = 69_000
N_ITEMS = 30
WEIGHTS: Mapping[str, float] = {
    "like": 1.0,
    "love": 1.7,
    "haha": 1.1,
    "wow": 0.9,
    "sad": 1.4,
    "angry": 0.5,
    "comment": 2.2,
    "significant_comment": 4.5,
    "significant_reply": 5.0,
    "reshare": 0.7,
    "significant_message": 6.0,
}
MULTIPLIERS: Mapping[str, float] = {
    "close_friend": 2.6,
    "friend": 1.0,
    "group_member": 0.5,
    "follower": 0.4,
    "page": 0.25,
    "stranger": 0.2,
}
SHARES: Mapping[str, float] = {"BR": 0.2, "DE": 0.1, "ID": 0.25, "IN": 0.3, "US": 0.15}
SAMPLED = (0.15, 0.25, 0.15, 0.2, 0.25)  # of the respondents: not the shares of the population
SPREADS = (0.9, 1.1, 1.2, 0.8, 1.0)
THRESHOLDS = (-1.4, -0.2, 0.9, 2.1)
BETWEEN = 0.15  # standard deviation of a country's effects around the population's
WORLD = 5  # the seed of what the countries are like; the same in every sample


@dataclass(frozen=True, eq=False)
class World:
    """What is true in each country.

    Attributes:
        kind: (5, K) effects on the latent scale; their mean by population is the log of `WEIGHTS`.
        relation: (5, R) the same of `MULTIPLIERS`.
        thresholds: (5, 4).
        pair: (K, R) how often each kind is asked about with each relation; sum 1.
    """

    kind: FloatArray
    relation: FloatArray
    thresholds: FloatArray
    pair: FloatArray

    def variance(self, pair: FloatArray) -> dict[str, float]:
        """The true shares of the latent variance, for the mix of kinds and relations that was asked about.

        Args:
            pair: (5, K, R) of each country; sums 1.
        """
        share = np.array(list(SHARES.values()))
        of_kind, of_relation = pair.sum(axis=2), pair.sum(axis=1)
        together = pair - of_kind[:, :, None] * of_relation[:, None, :]
        parts = (
            _variance(self.relation, of_relation) @ share,
            _variance(self.kind, of_kind) @ share,
            2 * np.einsum("ck,ckr,cr->c", self.kind, together, self.relation) @ share,
            np.square(SPREADS) @ share,
            RESIDUAL,
        )
        total = sum(float(part) for part in parts)
        found = {name: float(part) / total for name, part in zip(PARTS, parts, strict=True)}
        return found | {"relation_less_kind": found["relation"] - found["kind"]}


def world() -> World:
    """The truth of every sample."""
    rng = np.random.default_rng(WORLD)
    effects = []
    for truth, unit in ((WEIGHTS, "like"), (MULTIPLIERS, "friend")):
        apart = rng.normal(0, BETWEEN, (len(SHARES), len(truth)))
        apart[:, list(truth).index(unit)] = 0
        apart -= np.array(list(SHARES.values())) @ apart
        effects.append(np.log(list(truth.values())) + apart)
    thresholds = np.array(THRESHOLDS) + rng.normal(0, 0.4, (len(SHARES), 1))
    pair = rng.dirichlet(np.full(len(WEIGHTS) * len(MULTIPLIERS), 4.0))
    return World(effects[0], effects[1], thresholds, pair.reshape(len(WEIGHTS), len(MULTIPLIERS)))


def sample(n_people: int = N_PEOPLE, *, n_items: int = N_ITEMS, seed: int = 0) -> pa.Table:
    """Answers of people drawn from the world, in the columns that `read_responses` takes.

    Args:
        n_people: respondents, of all countries.
        n_items: answered by each.
        seed: of the draw.
    """
    rng, truth = np.random.default_rng(seed), world()
    country = np.repeat(rng.choice(len(SHARES), n_people, p=SAMPLED), n_items)
    person = np.repeat(np.arange(n_people), n_items)
    level = np.repeat(rng.normal(size=n_people), n_items) * np.array(SPREADS)[country]
    pair = np.searchsorted(np.cumsum(truth.pair.ravel())[:-1], rng.random(len(person)), side="right")
    kind, relation = np.divmod(pair, len(MULTIPLIERS))
    latent = truth.kind[country, kind] + truth.relation[country, relation] + level
    latent += rng.logistic(size=len(person))
    answer = 1 + (latent[:, None] > truth.thresholds[country]).sum(axis=1)
    return pa.table(
        {
            "respondent": pa.array(person),
            "country": _coded(country, SHARES),
            "kind": _coded(kind, WEIGHTS),
            "relation": _coded(relation, MULTIPLIERS),
            "answer": pa.array(answer),
        }
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the answers, and beside them the shares of the countries as shares.csv."""
    parser = argparse.ArgumentParser(prog="python -m training.survey_sample", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a name that ends in .parquet")
    parser.add_argument("--people", type=int, default=N_PEOPLE)
    parser.add_argument("--items", type=int, default=N_ITEMS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.output.suffix != ".parquet" or given.people < 1 or given.items < 1 or given.seed < 0:
        parser.error("expected an output that ends in .parquet, people and items above 0, a seed from 0")
    answers = sample(given.people, n_items=given.items, seed=given.seed)
    shares = pa.table({"country": list(SHARES), "share": list(SHARES.values())})
    beside = given.output.with_name("shares.csv")
    with atomic(given.output) as first, atomic(beside) as second:
        pq.write_table(answers, first, compression="zstd")
        pyarrow.csv.write_csv(shares, second)
    sys.stdout.write(f"written: {given.output}, {beside}\n")


def _variance(effects: FloatArray, share: FloatArray) -> FloatArray:
    """(c,) of effects (c, n), given how common each is (c, n)."""
    return np.asarray((effects**2 * share).sum(axis=1) - (effects * share).sum(axis=1) ** 2)


def _coded(codes: IntArray, names: Mapping[str, float]) -> Array:
    coded: Array = pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(list(names)))
    return coded.cast(pa.string())


if __name__ == "__main__":
    main()
