"""Open Bandit data: a shop that logged both a uniform policy and Thompson sampling (bts), with propensities.

The one public log where an off-policy estimate can be held against a truth that was really served: the
uniform policy is estimated from the bts rows and compared with the clicks of the uniform rows.

The data has no user ids: each impression counts as a user of its own, which is too hopeful if people return.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.clustered import Estimate, clustered_mean
from eval.off_policy import PolicyEstimate, SlateLog, evaluate
from eval.overlap import Limits, Served
from eval.support import SupportReport, gate
from eval.weights import importance_weights
from reranker.columns import FloatArray, IntArray, freeze_arrays

COLUMNS = ("item_id", "position", "click", "propensity_score", "policy", "campaign")
LOGGER, UNIFORM = "bts", "random"


@dataclass(frozen=True, eq=False)
class BanditLog:
    """Impressions of one item each.

    Attributes:
        item: (n,) item codes.
        click: (n,) 0 or 1.
        propensity: (n,) chance that the logger put the item at its position.
    """

    item: IntArray
    click: FloatArray
    propensity: FloatArray

    def __post_init__(self) -> None:
        if not len(self.item) == len(self.click) == len(self.propensity):
            raise ValueError("bandit log: expected columns of the same length")
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class UniformFromThompson:
    """The click rate of the uniform policy, as served and as estimated from another.

    Attributes:
        truth: of the rows that the uniform policy served.
        estimate: self-normalised, from the bts rows; `difference` is uniform minus bts.
        unweighted: importance-weighted without normalisation, on the same rows.
        gap: estimate minus truth, with the error of both, and its interval at the same level.
        support: whether the bts rows can answer at all.
    """

    truth: Estimate
    estimate: PolicyEstimate
    unweighted: PolicyEstimate
    gap: tuple[float, float, float]
    support: SupportReport

    @property
    def covers(self) -> bool:
        """Whether the estimate's interval holds the truth, taken as exact."""
        return self.estimate.target.low <= self.truth.value <= self.estimate.target.high


def read_open_bandit(path: str | Path, campaign: str, policy: str) -> BanditLog:
    """The impressions of one campaign under one policy ("bts" or "random").

    Raises:
        ValueError: a column is missing, or no row is of that campaign and policy.
    """
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    found = set(pq.read_schema(path).names)
    if missing := [name for name in COLUMNS if name not in found]:
        raise ValueError(
            f"{path}: expected columns {', '.join(COLUMNS)}, got none named {', '.join(missing)}"
        )
    wanted = (pc.field("campaign") == campaign) & (pc.field("policy") == policy)
    table = pq.read_table(path, columns=list(COLUMNS), filters=wanted)
    if not table.num_rows:
        raise ValueError(f'{path}: expected rows of campaign "{campaign}" and policy "{policy}", got none')
    return BanditLog(
        item=table["item_id"].to_numpy().astype(np.int64),
        click=table["click"].to_numpy().astype(np.float64),
        propensity=table["propensity_score"].to_numpy().astype(np.float64),
    )


def uniform_from_thompson(
    path: str | Path, campaign: str, limits: Limits | None = None, *, level: float = 0.95
) -> UniformFromThompson:
    """What the uniform policy earns, estimated from the bts rows and as it was served.

    Args:
        path: the parquet file.
        campaign: "men" or "women".
        limits: of the support gate; None takes its defaults.
        level: of the intervals.

    Raises:
        ValueError: as `read_open_bandit`, or a propensity of 0.

    Source: Saito, Aihara, Matsutani and Narita, Open Bandit Dataset and Pipeline, 2021, section 5.
    """
    logged = read_open_bandit(path, campaign, LOGGER)
    served = read_open_bandit(path, campaign, UNIFORM)
    n_items = len(np.union1d(logged.item, served.item))
    n = len(logged)
    offsets, user = np.arange(n + 1), np.arange(n)
    with np.errstate(divide="ignore"):
        log_logging = np.log(logged.propensity)
    log_target = np.full(n, -np.log(n_items))
    log = SlateLog(importance_weights(log_target, log_logging), logged.click, offsets, user)
    estimate = evaluate(log, estimator="snrips", behaviour="independent", level=level)
    truth = clustered_mean(served.click, np.arange(len(served)), level=level)
    return UniformFromThompson(
        truth=truth,
        estimate=estimate,
        unweighted=evaluate(log, estimator="rips", behaviour="independent", level=level),
        gap=_gap(estimate.target, truth),
        support=gate(Served(log_logging, log_target, offsets, user), limits, estimator="snrips"),
    )


def _gap(first: Estimate, second: Estimate) -> tuple[float, float, float]:
    """First minus second, from independent rows, and its interval at the level of the first."""
    value = first.value - second.value
    scale = (first.high - first.value) / first.standard_error if first.standard_error else 0.0
    half = scale * float(np.hypot(first.standard_error, second.standard_error))
    return value, value - half, value + half
