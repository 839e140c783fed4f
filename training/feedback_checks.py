"""Whether an extra-feedback experiment can be read at all: its arms, its randomisation, what it varied.

What is refused here would give numbers that look right. A loss of authors in one arm does, and two signals
that were only ever boosted together do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reranker.columns import FloatArray
from training.feedback_experiment import UNIT, FeedbackExperiment
from training.feedback_reduced_form import reduced_form

FEWEST_AUTHORS = 50  # below which errors clustered by author are too small
FEWEST_IN_ARM = 10
RATIO_P = 0.0005
IMBALANCE_P = 0.01
_COLLINEAR = 1e-6


@dataclass(frozen=True)
class ArmSizes:
    """The test that the arms have the sizes that were planned.

    Attributes:
        counted: "authors", or "rows" where these were randomised.
        counts: per arm.
        shares: planned, per arm.
        statistic, p: chi-square.
    """

    counted: str
    counts: tuple[int, ...]
    shares: tuple[float, ...]
    statistic: float
    p: float


@dataclass(frozen=True)
class Imbalance:
    """Whether the arms were alike in a count from before.

    Attributes:
        covariate: its name.
        p: of the test that all arms have one mean.
        warned: whether p is below 0.01 over the number of such tests.
    """

    covariate: str
    p: float
    warned: bool


def check_design(experiment: FeedbackExperiment) -> None:
    """Refuse an experiment that cannot tell the weight of any signal.

    Raises:
        ValueError: says what is missing: arms, a control, authors, the like, or counts that are not all 0.
    """
    arms = experiment.arm_names
    if len(arms) < 2 or not experiment.boosted:
        raise ValueError(
            f"arm: expected a control and at least one arm with extra feedback, got {', '.join(arms)}: "
            "nothing was randomised"
        )
    _ = experiment.control
    if experiment.n_authors < FEWEST_AUTHORS:
        raise ValueError(f"author: expected at least {FEWEST_AUTHORS} authors, got {experiment.n_authors}")
    pairs = np.unique(experiment.arm * (int(experiment.author.max()) + 1) + experiment.author)
    in_arm = np.bincount(pairs // (int(experiment.author.max()) + 1), minlength=len(arms))
    if in_arm.min() < FEWEST_IN_ARM:
        i = int(np.argmin(in_arm))
        raise ValueError(f"arm {arms[i]}: expected at least {FEWEST_IN_ARM} authors, got {in_arm[i]}")
    if UNIT not in experiment.boosted:
        raise ValueError(
            f"assigned_{UNIT}: expected an arm that boosts likes, which are the unit of the weights, "
            f"got arms that boost {', '.join(experiment.boosted)}"
        )
    if len(experiment.boosted) < 2:
        raise ValueError("assigned: expected an arm that boosts another signal than likes, got likes alone")
    for name in experiment.boosted:
        if name not in experiment.signals:
            raise ValueError(f"received_{name}: expected that column, as an arm boosts {name}, got none")
        if not experiment.received_of([name]).any():
            raise ValueError(f"received_{name}: expected some feedback in some row, got 0 in all")
    for name, values in experiment.before.items():
        rows = np.bincount(experiment.arm, np.isfinite(values), minlength=len(arms))
        if rows.min() == 0:
            lacking = arms[int(np.argmin(rows))]
            raise ValueError(f"before_{name}: expected some values in each arm, got none in {lacking}")
    if not experiment.posts.any():
        raise ValueError("posts: expected some posts in some row, got 0 in all")


def check_sizes(experiment: FeedbackExperiment, planned: Mapping[str, float] | None) -> ArmSizes:
    """The sizes of the arms against the planned shares, which are equal where none are stated.

    Raises:
        ValueError: the shares do not fit the arms, or the sizes do not fit the shares (p below 0.0005).

    Source: Fabijan and others, Diagnosing sample ratio mismatch in online controlled experiments, 2019.
    """
    arms = experiment.arm_names
    shares = dict.fromkeys(arms, 1.0) if planned is None else planned
    if set(shares) != set(arms) or not all(0 < share < np.inf for share in shares.values()):
        raise ValueError(
            f"shares: expected one above 0 for each of {', '.join(arms)}, "
            f"got {', '.join(f'{name}={share:g}' for name, share in shares.items())}"
        )
    expected = np.array([shares[name] for name in arms]) / sum(shares.values())
    if experiment.by_author:
        counted, arm = "authors", experiment.arm[np.unique(experiment.author, return_index=True)[1]]
    else:
        counted, arm = "rows", experiment.arm
    counts = np.bincount(arm, minlength=len(arms))
    found = stats.chisquare(counts, expected * counts.sum())
    if found.pvalue < RATIO_P:
        pairs = zip(arms, counts, expected * counts.sum(), strict=True)
        sizes = ", ".join(f"{name} {count:,} of {plan:,.0f}" for name, count, plan in pairs)
        raise ValueError(
            f"arm: expected arms of the planned sizes, got {counted} {sizes} (p = {found.pvalue:.1g}); "
            "the randomisation or the log is broken, or the shares are others"
        )
    return ArmSizes(
        counted,
        tuple(int(count) for count in counts),
        tuple(float(share) for share in expected),
        float(found.statistic),
        float(found.pvalue),
    )


def check_doses(experiment: FeedbackExperiment, controls: FloatArray) -> None:
    """Refuse doses that cannot be told apart, given orthonormal controls (n, q).

    Raises:
        ValueError: names the signals.
    """
    for name, dose in zip(experiment.boosted, experiment.assigned, strict=True):
        if _length(dose, controls) < _COLLINEAR * np.linalg.norm(dose):
            raise ValueError(
                f"assigned_{name}: expected doses that differ within countries and periods, got none"
            )
    together = _collinear(experiment.boosted, experiment.assigned, controls)
    if together:
        raise ValueError(
            f"assigned: expected arms that tell {together} apart, got them boosted always together: their "
            "effects are not identified"
        )


def check_received(experiment: FeedbackExperiment, controls: FloatArray) -> None:
    """Refuse feedback of boosted signals that differs in nothing, given orthonormal controls (n, q).

    Raises:
        ValueError: names the signals.
    """
    received = experiment.received_of(experiment.boosted)
    for name, values in zip(experiment.boosted, received, strict=True):
        if _length(values, controls) < _COLLINEAR * np.linalg.norm(values):
            raise ValueError(f"received_{name}: expected feedback that differs between rows, got one amount")
    together = _collinear(experiment.boosted, received, controls)
    if together:
        raise ValueError(
            f"received: expected {together} to differ, got them always in proportion: their effects are not "
            "identified"
        )


def _length(values: FloatArray, controls: FloatArray) -> float:
    return float(np.linalg.norm(values - controls @ (controls.T @ values)))


def _collinear(names: Sequence[str], rows: FloatArray, controls: FloatArray) -> str:
    """Those of the rows (K, n) that make up one another, in words; "" where none do."""
    left = rows - (rows @ controls) @ controls.T
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(left @ left.T)
    if values[0] > _COLLINEAR:
        return ""
    return " and ".join(name for name, part in zip(names, vectors[:, 0], strict=True) if abs(part) > 0.1)


def imbalances(experiment: FeedbackExperiment, arms: FloatArray, controls: FloatArray) -> list[Imbalance]:
    """The tests that counts from before do not differ between the arms, one per count.

    Args:
        experiment: whose counts.
        arms: (n, A - 1) one column of 0 and 1 per arm but the control.
        controls: (n, q) the intercept and the places.
    """
    found = []
    for name, values in experiment.before.items():
        known = np.isfinite(values)
        if np.ptp(values[known]) == 0:
            continue
        author = np.unique(experiment.author[known], return_inverse=True)[1]
        form = reduced_form(arms[known], np.log1p(values[known])[:, None], controls[known], author)
        p = float(stats.chi2.sf(form.wald(np.ones(1)), arms.shape[1]))
        found.append(Imbalance(name, p, p < IMBALANCE_P / len(experiment.before)))
    return found
