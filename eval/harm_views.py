"""Harm among views: per 1,000 views and per user-day, what could not be scored bounded, never taken as 0.

Both rates are needed: a safer feed may be read further, so that the share of views falls and their number
does not. Everything stands on candidates: `examination` (c,) is 0 for a candidate that is not shown, so that
two policies on the same candidates share the harm column, and `offsets` (n + 1,) cuts it into requests.
"""

from dataclasses import dataclass

import numpy as np

from eval.browsing import Status
from eval.browsing_kernel import add_harm_views
from eval.clustered import (
    LEVEL,
    Estimate,
    cluster_totals,
    clustered_ratio,
    clustered_ratio_change,
    from_cluster_influence,
    relative_change,
)
from eval.segments import decompose
from reranker.columns import FloatArray, IntArray

PER = 1_000.0  # views that a prevalence is told per
MOST_UNSCORED = 0.02  # of the views, under either policy
MOST_UNSCORED_GAP = 0.002  # between the two policies


@dataclass(frozen=True, eq=False)
class HarmViews:
    """What each request shows; all (n,). Sums, so that rates over any group are ratios of sums.

    Attributes:
        harm: expected harmful views among those that are scored, times their severity.
        scored: expected views of candidates with a score.
        unscored: expected views of candidates without one.
        unscored_harm: the harm if every candidate without a score were harmful.
    """

    harm: FloatArray
    scored: FloatArray
    unscored: FloatArray
    unscored_harm: FloatArray

    @property
    def views(self) -> FloatArray:
        """(n,) all expected views."""
        return self.scored + self.unscored

    @property
    def share_unscored(self) -> float:
        """Share of the views of candidates without a score; NaN where there is no view."""
        views = self.views.sum()
        return float(self.unscored.sum() / views) if views > 0 else float("nan")

    @property
    def bounds(self) -> tuple[float, float]:
        """Prevalence per 1,000 views if every candidate without a score were harmless, or harmful."""
        views = self.views.sum()
        if views <= 0:
            return float("nan"), float("nan")
        harm = self.harm.sum()
        return float(PER * harm / views), float(PER * (harm + self.unscored_harm.sum()) / views)


def harm_views(
    examination: FloatArray, harm: FloatArray, offsets: IntArray, *, severity: FloatArray | None = None
) -> HarmViews:
    """Expected views of harm per request.

    Args:
        examination: (c,) chance that each candidate is seen, 0 where not shown; or its dwell time.
        harm: (c,) probability of harm, NaN where not scored.
        offsets: (n + 1,) candidates of each request.
        severity: (c,) weight of each candidate's harm, at least 0; None weighs all alike.

    Raises:
        ValueError: lengths that differ, a probability outside [0, 1], a negative or missing examination.
    """
    n, columns = int(offsets[-1]), {"examination": examination, "harm": harm}
    if severity is not None:
        columns["severity"] = severity
    for name, values in columns.items():
        if len(values) != n:
            raise ValueError(f"{name}: expected {n} values, got {len(values)}")
    weight = np.zeros(0) if severity is None else severity
    out = np.empty((4, len(offsets) - 1))
    bad = add_harm_views(examination, harm, weight, offsets, out)
    if bad >= 0:
        got = ", ".join(f"{name} {values[bad]}" for name, values in columns.items())
        raise ValueError(
            f"row {bad}: expected a finite examination and severity of at least 0 and a harm in [0, 1] or "
            f"NaN, got {got}"
        )
    return HarmViews(*out)


def prevalence(views: HarmViews, cluster: IntArray, *, level: float = LEVEL) -> Estimate:
    """Harmful views per 1,000 scored views: the sum of all requests over the sum of all requests.

    Users without a view are left out. What was not scored is taken as neither harmless nor harmful; see
    `HarmViews.bounds` for both.

    Args:
        views: what each request shows.
        cluster: (n,) codes of the users.
        level: of the interval.

    Raises:
        ValueError: fewer than 2 users with a view.
    """
    return clustered_ratio(PER * views.harm, views.scored, cluster, level=level)


def harm_per_user_day(
    views: HarmViews, cluster: IntArray, day: IntArray, *, level: float = LEVEL
) -> Estimate:
    """Harmful views per user and day with at least one request; requests without a view count as days.

    Views without a score are taken to be as harmful as the scored ones, which the error allows for.

    Args:
        views: what each request shows.
        cluster: (n,) codes of the users.
        day: (n,) codes of the days.
        level: of the interval.

    Raises:
        ValueError: fewer than 2 users, or views of which none is scored.
    """
    value, influence = _per_day(views, cluster, _first_of_days(cluster, day))
    return from_cluster_influence(value, influence, n=len(day), level=level)


@dataclass(frozen=True)
class HarmChange:
    """How much harm one policy shows more than another, on the same requests.

    Attributes:
        status: IDENTIFIED, BOUNDED where some views are not scored, REFUSED where too many are or there is
            but one user. Given the browsing model; see `status_over_models`.
        reasons: why it is not IDENTIFIED.
        first, second: prevalence per 1,000 views under each policy; None where refused for want of users.
        difference, relative: of the prevalences; relative is None where the first is 0.
        per_day, per_day_difference: harmful views per user-day under each, and their difference.
        first_bounds, second_bounds: prevalence if every unscored candidate were harmless, or harmful.
        difference_bounds: of the difference, where the same candidate is the same under both policies.
        share_unscored: of the views, under each policy.
    """

    status: Status
    reasons: tuple[str, ...]
    first: Estimate | None
    second: Estimate | None
    difference: Estimate | None
    relative: Estimate | None
    per_day: tuple[Estimate, Estimate] | None
    per_day_difference: Estimate | None
    first_bounds: tuple[float, float]
    second_bounds: tuple[float, float]
    difference_bounds: tuple[float, float]
    share_unscored: tuple[float, float]


def harm_change(
    first: FloatArray,
    second: FloatArray,
    harm: FloatArray,
    *,
    offsets: IntArray,
    cluster: IntArray,
    day: IntArray,
) -> HarmChange:
    """The change of harm among views from one policy to another, paired, with an interval by user.

    Args:
        first: (c,) examination of each candidate under the baseline, 0 where not shown.
        second: (c,) under the other policy.
        harm: (c,) probability of harm, NaN where not scored.
        offsets: (n + 1,) candidates of each request.
        cluster: (n,) codes of the users.
        day: (n,) codes of the days.

    Raises:
        ValueError: as `harm_views`, or a policy without any view.
    """
    before, after = harm_views(first, harm, offsets), harm_views(second, harm, offsets)
    shares = (before.share_unscored, after.share_unscored)
    if np.isnan(shares).any():
        raise ValueError("examination: expected at least one view under each policy, got none")
    once = _first_of_days(cluster, day)
    n_users = cluster_totals((once,), cluster).shape[1]
    status, reasons = _status(shares, n_users)
    bounds = (before.bounds, after.bounds, unscored_change_bounds(first, second, harm))
    if n_users < 2 or max(shares) >= 1:
        return HarmChange(status, reasons, None, None, None, None, None, None, *bounds, shares)
    pair = (PER * before.harm, before.scored), (PER * after.harm, after.scored)
    (day0, z0), (day1, z1) = _per_day(before, cluster, once), _per_day(after, cluster, once)
    n = len(cluster)
    return HarmChange(
        status=status,
        reasons=reasons,
        first=prevalence(before, cluster),
        second=prevalence(after, cluster),
        difference=clustered_ratio_change(*pair, cluster),
        relative=relative_change(*pair, cluster) if before.harm.sum() > 0 else None,
        per_day=(from_cluster_influence(day0, z0, n=n), from_cluster_influence(day1, z1, n=n)),
        per_day_difference=from_cluster_influence(day1 - day0, z1 - z0, n=n),
        first_bounds=bounds[0],
        second_bounds=bounds[1],
        difference_bounds=bounds[2],
        share_unscored=shares,
    )


def unscored_change_bounds(first: FloatArray, second: FloatArray, harm: FloatArray) -> tuple[float, float]:
    """Least and most that the prevalence per 1,000 views may change, whatever the unscored candidates are.

    Sharp: one candidate has one truth under both policies, so only what it is shown more or less counts.

    Args:
        first: (c,) examination under the baseline.
        second: (c,) under the other policy.
        harm: (c,) probability of harm, NaN where not scored.
    """
    n0, n1, unknown = first.sum(), second.sum(), np.flatnonzero(np.isnan(harm))
    scored = np.where(np.isnan(harm), 0.0, harm) if len(unknown) else harm  # the rest is `free`, not harmless
    base = float(PER * ((second * scored).sum() / n1 - (first * scored).sum() / n0))
    free = PER * (second[unknown] / n1 - first[unknown] / n0)
    return base + float(np.minimum(free, 0.0).sum()), base + float(np.maximum(free, 0.0).sum())


def decompose_prevalence(first: HarmViews, second: HarmViews, segment: IntArray) -> tuple[float, float]:
    """Change of prevalence per 1,000 views within segments, and from their mix; together the whole change.

    Shares are of all scored views and rates are ratios of sums, so small countries weigh little.

    Args:
        first: what each request shows under the baseline.
        second: what it shows under the other policy.
        segment: (n,) codes from 0, such as the request's country.

    Source: Kitagawa, Components of a difference between two rates, 1955.
    """
    parts = []
    for views in (first, second):
        harm, scored = (
            np.bincount(segment, weights=column, minlength=int(segment.max()) + 1)
            for column in (views.harm, views.scored)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append((scored / scored.sum(), PER * harm / scored))
    return decompose(parts[0], parts[1])


def _first_of_days(cluster: IntArray, day: IntArray) -> FloatArray:
    """(n,) 1 for the first request of each user and day, 0 for others."""
    user, when = (
        codes
        if codes.min() >= 0 and codes.max() < 1024 + len(codes)
        else np.unique(codes, return_inverse=True)[1]
        for codes in (cluster, day)
    )
    n_days = int(when.max()) + 1
    once = np.zeros(len(day))
    if (int(user.max()) + 1) * n_days > 16 * len(day) + 1024:
        once[np.unique(user * n_days + when, return_index=True)[1]] = 1.0
        return once
    first = np.full((int(user.max()) + 1) * n_days, -1)
    first[(user * n_days + when)[::-1]] = np.arange(len(day))[::-1]  # the earliest is written last
    once[first[first >= 0]] = 1.0
    return once


def _per_day(views: HarmViews, cluster: IntArray, once: FloatArray) -> tuple[float, FloatArray]:
    """Harm per user-day, and per cluster (G,) what it adds to the error."""
    harm, scored, seen, days = cluster_totals((views.harm, views.scored, views.views, once), cluster)
    if scored.sum() <= 0 < seen.sum():
        raise ValueError("harm: expected at least one scored view, got none")
    scale = seen.sum() / scored.sum() if seen.sum() > 0 else 1.0  # exactly 1 where all are scored
    value = scale * harm.sum() / days.sum()
    influence = scale * harm / days.sum() - value * days / days.sum()
    if scale != 1.0:
        influence = influence + value * (seen / seen.sum() - scored / scored.sum())
    return float(value), influence


def _status(shares: tuple[float, float], n_users: int) -> tuple[Status, tuple[str, ...]]:
    reasons = []
    if n_users < 2:
        reasons.append(f"users: expected at least 2, got {n_users}")
    if max(shares) > MOST_UNSCORED:
        reasons.append(f"unscored views: expected at most {MOST_UNSCORED:.1%}, got {max(shares):.2%}")
    gap = abs(shares[1] - shares[0])
    if gap > MOST_UNSCORED_GAP:
        reasons.append(
            f"unscored views: expected policies that differ by at most {100 * MOST_UNSCORED_GAP:.1f} points, "
            f"got {100 * gap:.2f}"
        )
    if reasons:
        return "REFUSED", tuple(reasons)
    if max(shares) > 0:
        return "BOUNDED", (f"unscored views: {max(shares):.2%}, see the bounds",)
    return "IDENTIFIED", ()
