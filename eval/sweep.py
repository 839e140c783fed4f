"""The same feed under one policy with other weights of the angry reaction (W19)."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.interval import N_RESAMPLES
from eval.outcomes import Outcome
from eval.rows import Row, change_rows
from reranker.anger import AngerBaseline
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.value import Harms

ANGRY_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 4.0, 5.0)


@dataclass(frozen=True)
class SweepPoint:
    """The changes from the original policy at one weight of the angry reaction."""

    weight: float
    digest: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Sweep:
    """Exposure and activity by the weight of the angry reaction; `original_weight` is where changes are 0."""

    policy: str
    digest: str
    original_weight: float
    shown: str
    points: tuple[SweepPoint, ...]


def sweep_angry(
    feed: Feed,
    spec: str,
    outcomes: Sequence[Outcome],
    *,
    settings: Sequence[str] = (),
    harms: Harms | None = None,
    baseline: AngerBaseline | None = None,
    weights: Sequence[float] = ANGRY_WEIGHTS,
    shown: str = "10%",
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> Sweep:
    """How exposure and activity change with the weight of the angry reaction.

    Weights by country or language, and those of a second scale, stay as the policy has them.

    Args:
        feed: the candidates.
        spec: the original policy, as `load_policy` reads it.
        outcomes: what to measure; context outcomes are left out.
        settings: laid over the policy at every weight.
        harms: scores made before, for policies that need them.
        baseline: what anger is usual, for policies that need it.
        weights: to try.
        shown: the browsing model.
        seed: of the resampling.
        n_resamples: resamples of the intervals.

    Raises:
        PolicyError: the policy, a setting or a weight is wrong.
    """
    policy = load_policy(spec, settings)
    original = Reranker(policy, baseline=baseline).rank(feed, harms)
    measured = [outcome for outcome in outcomes if outcome.kind != "context"]
    points = []
    for weight in sorted(set(weights)):
        changed = load_policy(spec, [*settings, f"weights.angry={float(weight)!r}"])
        ranking = Reranker(changed, baseline=baseline).rank(feed, harms)
        rows = change_rows(original, ranking, measured, shown, seed=seed, n_resamples=n_resamples)
        points.append(SweepPoint(float(weight), changed.digest, rows))
    return Sweep(policy.name, policy.digest, policy.weights.get("angry", 0.0), shown, tuple(points))
