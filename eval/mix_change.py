"""Whether harm changed inside the parts of what is seen, or because other parts are seen; with errors."""

from dataclasses import dataclass

import numpy as np

from eval.clustered import LEVEL, Estimate, from_influence
from eval.harm_views import PER
from eval.logged_plan import Plan
from eval.logged_request import RequestValues
from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.engagement import request_sums


@dataclass(frozen=True)
class MixRow:
    """A change of harm per 1,000 views, split: within the parts and by another mix of them, exactly.

    Attributes:
        dimension, metric: of candidates, and the harm.
        within: what changed inside the parts, at their mean shares of the views.
        mix: what changed because other parts are seen, at their mean rates.
        n_users: behind both.
    """

    dimension: str
    metric: str
    within: Estimate
    mix: Estimate
    n_users: int


def mix_rows(values: RequestValues, plan: Plan, *, level: float = LEVEL) -> tuple[MixRow, ...]:
    """Each harm by each dimension of candidates; those with a view that has no score are left out.

    Args:
        values: of all requests.
        plan: what was measured.
        level: of the intervals.
    """
    made, offsets = [], values.shown_offsets
    for d, parts in enumerate(plan.of_candidates):
        inside = [values.group[d] == code for code, _ in parts.segments]
        views = _by_part(values.exposure, inside, offsets)
        for h, label in enumerate(plan.harms):
            if values.unscored[:, h].any() or not (views.sum(axis=(1, 2)) > 0).all():
                continue
            harmful = _by_part(values.exposure * np.nan_to_num(values.harm[h]), inside, offsets)
            within, mix = (
                from_influence(PER * value, PER * z, values.user, level=level)
                for value, z in mixed_change(views, harmful)
            )
            made.append(MixRow(parts.name, f"harm_prevalence.{label}", within, mix, within.n_clusters))
    return tuple(made)


def _by_part(seen: FloatArray, inside: list[BoolArray], offsets: IntArray) -> FloatArray:
    """(2, g, n) what is seen (2, e) of each part in each request."""
    return np.array([[request_sums(one * own, offsets) for own in inside] for one in seen])


def mixed_change(
    views: FloatArray, harmful: FloatArray
) -> tuple[tuple[float, FloatArray], tuple[float, FloatArray]]:
    """What changed within parts and by their mix, each with its influence (n,): they add up to the change.

    A part that one policy does not show has no rate there; the rate of the other stands in.

    Args:
        views: (2, g, n) of each part under each policy.
        harmful: (2, g, n) the harm among them.

    Source: Kitagawa, Components of a difference between two rates, 1955.
    """
    n = views.shape[-1]
    total = views.sum(axis=1)  # (2, n)
    sums, all_views = views.sum(axis=2), total.sum(axis=1)  # (2, g), (2,)
    share = sums / all_views[:, None]
    d_share = (views - share[:, :, None] * total[:, None, :]) / (all_views[:, None, None] / n)
    shown = sums > 0
    rate = np.where(shown, harmful.sum(axis=2) / np.where(shown, sums, 1.0), 0.0)
    d_rate = np.where(
        shown[:, :, None],
        (harmful - rate[:, :, None] * views) / (np.where(shown, sums, 1.0)[:, :, None] / n),
        0.0,
    )
    for p in (0, 1):
        rate[p] = np.where(shown[p], rate[p], rate[1 - p])
        d_rate[p] = np.where(shown[p][:, None], d_rate[p], d_rate[1 - p])
    half_share, half_rate = share.sum(axis=0) / 2, rate.sum(axis=0) / 2
    more_rate, more_share = rate[1] - rate[0], share[1] - share[0]
    within = (half_share[:, None] * (d_rate[1] - d_rate[0])).sum(axis=0)
    within += (d_share.sum(axis=0) / 2 * more_rate[:, None]).sum(axis=0)
    mix = (half_rate[:, None] * (d_share[1] - d_share[0])).sum(axis=0)
    mix += (d_rate.sum(axis=0) / 2 * more_share[:, None]).sum(axis=0)
    return (float(half_share @ more_rate), within), (float(half_rate @ more_share), mix)
