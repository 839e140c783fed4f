"""What a launch must hold, one check each: harm, activity, topics, groups, demotions that demote.

A check is of one figure under one browsing model at one strength. It passes where the figure is shown to be
within its margin, so too little data never passes. What has no score is bounded by the two truths that are
best and worst for the policy, never taken as harmless.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy import special

from eval.clustered import LEVEL, Estimate, Ratio, relative_change
from eval.decision import Verdict, decide
from eval.exposure import measure_exposure
from eval.guardrails import GATES, guardrails
from eval.launch_plan import DEMOTIONS, LaunchPlan
from eval.outcomes import Outcome
from eval.rows import Cell, Seen, unscored_reasons
from eval.topics import topic_findings
from reranker.columns import FloatArray, IntArray
from reranker.effectiveness import Effectiveness
from reranker.engagement import request_sums
from reranker.ranking import Ranking

Family = Literal["harm", "activity", "topic", "group", "demotion"]
State = Literal["pass", "fail", "inconclusive", "not measured"]
ALPHA = 0.025  # of each one-sided test


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        family, name: what is checked.
        strength: of the treatment.
        browsing: the browsing model; "" for what needs none.
        margin: the largest change for the worse that is allowed, a share.
        ends: the relative change, or the best and the worst that it may be where posts have no score. Of
            groups: exposure against all others, less 1. Of demotions: the share that is ineffective.
        state: "fail" is shown to be beyond the margin, "inconclusive" neither beyond nor within.
        reason: why it is not measured, or "".
        n_needed: users, requests or demotions for 80 % power if nothing truly changed; None where more would
            not tell.
        allowed: whether the plan lets it go without a figure.
    """

    family: Family
    name: str
    strength: float
    browsing: str
    margin: float
    ends: tuple[Estimate, ...] = ()
    state: State = "not measured"
    reason: str = ""
    n_needed: int | None = None
    allowed: bool = False

    @property
    def holds(self) -> bool:
        """Whether it lets the policy pass."""
        return self.state == "pass" or (self.state == "not measured" and self.allowed)

    @property
    def worst(self) -> Estimate | None:
        """The end that is worst for the policy."""
        if not self.ends:
            return None
        rises = self.family in ("harm", "demotion")
        return max(self.ends, key=lambda end: end.value if rises else -end.value)


@dataclass(frozen=True)
class Scene:
    """Two rankings of one feed as checks see them.

    Attributes:
        rankings: original, and the treatment at a strength.
        strength: of it.
        seen: how likely each candidate is seen under both, by browsing model, the main one first.
        cluster: (r,) codes of the users.
    """

    rankings: tuple[Ranking, Ranking]
    strength: float
    seen: Seen
    cluster: IntArray

    @property
    def same_order(self) -> bool:
        """Whether both rank every request alike."""
        first, second = self.rankings
        return bool(np.array_equal(first.position, second.position))


@dataclass(frozen=True)
class Checked:
    """The checks of one strength, and what the main browsing model's changes were made of.

    Attributes:
        checks: all.
        columns: by family and name: numerator and denominator per request under both policies, at the worst
            end; for the correlation of the strengths.
    """

    checks: tuple[Check, ...]
    columns: Mapping[tuple[Family, str], tuple[Ratio, Ratio]] = field(default_factory=dict)


def judged(check: Check, ends: tuple[Estimate, ...]) -> Check:
    """The check with its state from a relative change, or from the two ends of one.

    Non-inferiority at one-sided 2.5 %: in the direction of harm for what should not rise. Two ends must both
    be within the margin to pass and both beyond it to fail.
    """
    verdicts = [_verdict(check, end) for end in ends]
    if all(verdict.non_inferior for verdict in verdicts):
        return replace(check, ends=ends, state="pass")
    if all(verdict.decision == "INFERIOR" for verdict in verdicts):
        return replace(check, ends=ends, state="fail")
    open_ends = [verdict for verdict in verdicts if not verdict.non_inferior]
    needed: list[int] = []
    if not any(verdict.decision == "INFERIOR" or not verdict.estimate.bounded for verdict in open_ends):
        needed = [verdict.n_needed or verdict.estimate.n_clusters + 1 for verdict in open_ends]
    return replace(check, ends=ends, state="inconclusive", n_needed=max(needed, default=None))


def _verdict(check: Check, end: Estimate) -> Verdict:
    rises = check.family == "harm"
    return decide(
        replace(end, value=-end.value, low=-end.high, high=-end.low) if rises else end, check.margin
    )


def exposure_checks(scene: Scene, outcomes: Sequence[Outcome], plan: LaunchPlan) -> Checked:
    """Harms that must not rise and topics that must not fall, per view, under each browsing model."""
    made: list[Check] = []
    columns: dict[tuple[Family, str], tuple[Ratio, Ratio]] = {}
    for family, outcome, margin in _exposures(outcomes, plan):
        for model, pair in scene.seen.items():
            check = Check(family, outcome.name, scene.strength, model.name, margin)
            truths, reason = _truths(pair, outcome, margin if family == "harm" else -margin)
            ratios = [_ratios(pair, values, scene) for values in truths]
            if not reason and ratios:
                check, reason = _from_ratios(check, ratios, scene.cluster)
                columns.setdefault((family, outcome.name), ratios[0])
            made.append(replace(check, reason=reason, allowed=outcome.name in plan.allow_not_measured))
    return Checked(tuple(made), columns)


def _exposures(outcomes: Sequence[Outcome], plan: LaunchPlan) -> Iterator[tuple[Family, Outcome, float]]:
    for outcome in outcomes:
        margin = plan.harm_margin(outcome.name) if outcome.kind == "exposure" else None
        if margin is not None:
            yield "harm", outcome, margin
        if outcome.name in plan.topics:
            yield "topic", outcome, plan.topics[outcome.name]


def _truths(
    pair: tuple[FloatArray, FloatArray], outcome: Outcome, margin: float
) -> tuple[list[FloatArray], str]:
    """(c,) values to measure: as they are, or with unscored posts at the worst and the best for the policy.

    The worst truth makes the change against (1 + margin) times the original largest; as that is linear in
    the truth of each post, no other is worse. Counts cannot be bounded: what has none is left out.
    """
    unknown = np.isnan(outcome.values)
    if np.array_equal(*pair):  # whatever the truth, the change is exactly 0
        return [np.where(unknown, 0.0, outcome.values)], ""
    shares = tuple(float(seen[unknown].sum() / seen.sum()) if seen.sum() > 0 else 0.0 for seen in pair)
    if min(seen.sum() for seen in pair) <= 0:
        return [], "views: expected some under each policy, got none"
    reasons = unscored_reasons((shares[0], shares[1]))
    if reasons:
        return [], "; ".join(reasons)
    if not max(shares) > 0 or not outcome.bounded:
        return [outcome.values], ""
    first, second = (seen / seen.sum() for seen in pair)
    more = second > (1 + margin) * first
    ends = [np.where(unknown, side, outcome.values) for side in (more, ~more)]
    return ends if margin > 0 else ends[::-1], ""


def _ratios(pair: tuple[FloatArray, FloatArray], values: FloatArray, scene: Scene) -> tuple[Ratio, Ratio]:
    """Per request the sum over what is seen, and the views of what has a value, under both policies."""
    offsets, known = scene.rankings[0].feed.offsets, ~np.isnan(values)
    found = [np.where(known, seen, 0.0) for seen in pair]
    sums = [
        (request_sums(seen * np.where(known, values, 0.0), offsets), request_sums(seen, offsets))
        for seen in found
    ]
    return sums[0], sums[1]


def _from_ratios(check: Check, ratios: Sequence[tuple[Ratio, Ratio]], cluster: IntArray) -> tuple[Check, str]:
    """The judged check, or why there is no relative change."""
    ends = []
    for first, second in ratios:
        if first[0].sum() > 0:
            ends.append(relative_change(first, second, cluster))
        elif second[0].sum() > 0 and check.family == "harm":
            n = len(np.unique(cluster))
            endless = Estimate(math.inf, 0.0, math.inf, math.inf, LEVEL, len(cluster), n)
            return replace(
                check, state="fail", ends=(endless,)
            ), "the original shows none and this shows some"
        elif check.family == "harm":  # none before and none after
            ends.append(_unchanged(cluster))
        else:
            return check, "the original shows none"
    return judged(check, tuple(ends)), ""


def _unchanged(cluster: IntArray) -> Estimate:
    return Estimate(0.0, 0.0, 0.0, 0.0, LEVEL, len(cluster), len(np.unique(cluster)))


def activity_checks(scene: Scene, outcomes: Sequence[Outcome], plan: LaunchPlan) -> Checked:
    """Every guardrail of the margins; those that a replay cannot measure are not measured."""
    cells = [Cell(o, model, None) for model in scene.seen for o in outcomes if o.kind == "activity"]
    pairs = [
        tuple(
            measure_exposure(ranking, seen, cell.outcome.values)
            for ranking, seen in zip(scene.rankings, scene.seen[cell.model], strict=True)
        )
        for cell in cells
    ]
    both = [(pair[0], pair[1]) for pair in pairs]
    found = guardrails(cells, both, scene.cluster, plan.activity, same_order=scene.same_order)
    made: list[Check] = []
    columns: dict[tuple[Family, str], tuple[Ratio, Ratio]] = {}
    for name, margin in plan.activity.overall.items():
        own = [one for one in found if one.margin_of == name and name in (one.metric, GATES.get(one.metric))]
        for one in own:
            check = Check("activity", name, scene.strength, one.browsing, margin)
            if one.verdict is None:
                made.append(replace(check, reason="; ".join(one.reasons)))
            else:
                made.append(judged(check, (one.verdict.estimate,)))
                at = next(i for i, cell in enumerate(cells) if cell.outcome.name == one.metric)
                columns[("activity", name)] = _means(both[at][0].mean, both[at][1].mean)
        if not own:
            reason = "expected a count of it in the feed, got none"
            made.append(Check("activity", name, scene.strength, "", margin, reason=reason))
    allowed = plan.allow_not_measured
    return Checked(tuple(replace(check, allowed=check.name in allowed) for check in made), columns)


def _means(first: FloatArray, second: FloatArray) -> tuple[Ratio, Ratio]:
    """Means of requests as ratios, those that were not measured weighing nothing."""
    used = ~(np.isnan(first) | np.isnan(second))
    once = used.astype(np.float64)
    return (np.where(used, first, 0.0), once), (np.where(used, second, 0.0), once)


def harmless_topic_checks(scene: Scene, outcomes: Sequence[Outcome], plan: LaunchPlan) -> Checked:
    """Topics without the harm about them, where both labels are measured; see `eval.topics`."""
    found = topic_findings(
        scene.seen,
        [outcome for outcome in outcomes if outcome.kind == "exposure" or outcome.name in plan.topics],
        offsets=scene.rankings[0].feed.offsets,
        cluster=scene.cluster,
        agreed=plan.margins,
        same_order=scene.same_order,
    )
    made = []
    for one in found:
        name = f"{one.topic} without {one.harm}"
        allowed = one.topic in plan.allow_not_measured or name in plan.allow_not_measured
        check = Check("topic", name, scene.strength, one.browsing, one.margin, allowed=allowed)
        ends = tuple(dict.fromkeys(end for end in one.harmless if end is not None))
        if scene.same_order:
            ends = (_unchanged(scene.cluster),)
        made.append(judged(check, ends) if ends else replace(check, reason="; ".join(one.reasons)))
    return Checked(tuple(made))


def demotion_check(found: Effectiveness, plan: LaunchPlan, *, demotes: bool) -> Check:
    """Ineffective demotions per 1,000 full ones, held to the limit with an exact upper bound.

    The bound takes demotions as independent draws. A share above the limit fails as it stands.

    Args:
        found: of the treatment.
        plan: the limit.
        demotes: whether the policy demotes any label in full; where it does not, nothing can be ineffective.

    Source: Clopper and Pearson, The use of confidence or fiducial limits, 1934.
    """
    limit = plan.ineffective_per_1000 / 1000
    check = Check("demotion", DEMOTIONS, 1.0, "", limit, allowed=DEMOTIONS in plan.allow_not_measured)
    n, k = found.n_full, found.n_ineffective
    if not demotes:
        return replace(check, state="pass", reason="the policy demotes no label")
    if n == 0:
        return replace(check, reason="full demotions: expected some to judge, got none")
    share, high = k / n, _upper(k, n)
    low = float(special.betaincinv(k, n - k + 1, ALPHA)) if k else 0.0
    end = Estimate(share, math.sqrt(share * (1 - share) / n), low, high, LEVEL, n, n, is_fieller=True)
    check = replace(check, ends=(end,))
    if high <= limit:
        return replace(check, state="pass")
    return (
        replace(check, state="fail")
        if share > limit
        else replace(check, state="inconclusive", n_needed=_demotions_needed(share, limit, n))
    )


def _upper(k: float, n: float) -> float:
    return 1.0 if k >= n else float(special.betaincinv(k + 1, n - k, 1 - ALPHA))


def _demotions_needed(share: float, limit: float, n: int) -> int | None:
    """Full demotions that would show it at the same share; None where the share is at the limit."""
    if share >= limit:
        return None
    low, high = n, 2 * n
    while _upper(share * high, high) > limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _upper(share * middle, middle) <= limit else (middle, high)
    return high
