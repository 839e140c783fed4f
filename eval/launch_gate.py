"""`run_gate`: may this policy be launched? Every guardrail at every strength, and one answer.

**Why nothing is corrected for passing.** The policy passes only if *every* check holds. To pass wrongly, the
one check that is truly broken must be met by luck, which happens at most in 2.5 % of cases however many other
checks there are: an intersection-union test (Berger, 1982). More checks make it harder to pass, never easier.
The strengths are gone through from the weakest up, and the first that fails ends it (`largest_safe`), so
trying many does not help either; and the launch itself stands on strength 1 alone.

**Why claims are corrected.** "This harm fell" is said if *any* of harms x strengths shows it, so there each
further look is a further chance to be wrong. These p-values are Holm's over the whole family: at most 5 % for
any wrong direction among all of them.

Level L0: what would sit where on the logged candidates, and the activity that it had gathered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.comparison import Comparison, compare
from eval.exposure import browsing
from eval.launch_checks import (
    Check,
    Checked,
    Scene,
    activity_checks,
    demotion_check,
    exposure_checks,
    harmless_topic_checks,
)
from eval.launch_dose import DoseResponse, dose_responses, largest_safe
from eval.launch_groups import check_columns, group_checks, small_groups
from eval.launch_plan import ANY, DEMOTIONS, LaunchPlan
from eval.launch_segments import SegmentChecks, segment_checks
from eval.launch_strength import at_strength, same_unit, settings_at
from eval.launch_verdict import Claim, claims_of, own_ruler_of, passes, reasons_of, warnings_of
from eval.margins import load_margins
from eval.outcomes import Outcome
from eval.provenance import clusters_of
from eval.rows import examinations
from eval.study import Arm
from models.taxonomy import LABELS
from reranker.anger import AngerBaseline
from reranker.columns import closest
from reranker.effectiveness import Effectiveness, measure_effectiveness, refuse_to_demote_everything
from reranker.feed import Feed
from reranker.ranking import Ranking
from reranker.value import Harms

EXPOSURES = (
    *(entry.name for entry in LABELS if entry.family not in ("bridging", "humor", "topic")),
    "angry_share",
    "low_quality",
    "divisive",
    "moral_emotional",
)
TOPICS = tuple(entry.name for entry in LABELS if entry.family == "topic")


@dataclass(frozen=True)
class LaunchGate:
    """The answer and what it rests on.

    Attributes:
        passed: every check at full strength holds, under the planned digest.
        reasons: why it does not pass, one line each.
        warnings: what to look at although it does not decide.
        plan: what had to hold.
        planned: the digest as planned; None where none was named.
        checks: at every strength, the full one last.
        safe_strength: the largest strength that passes, as does every smaller one; None for none.
        claims: on each harm at each strength.
        doses: each guardrail over the strengths.
        blended: how the strengths were made, in words.
        effectiveness: of the treatment's demotions.
        comparison: the two policies at full strength.
        small_groups: groups that were not judged for being small.
        segments: of the plan, each judged by itself.
        safe_settings: settings over the original that rank as the largest safe strength does; () where no
            settings do, or where that is none or the treatment itself.
    """

    passed: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    plan: LaunchPlan
    planned: str | None
    checks: tuple[Check, ...]
    safe_strength: float | None
    claims: tuple[Claim, ...]
    doses: tuple[DoseResponse, ...]
    blended: str
    effectiveness: Effectiveness
    comparison: Comparison
    small_groups: tuple[str, ...]
    segments: SegmentChecks
    safe_settings: tuple[str, ...]

    def at(self, strength: float = 1.0) -> tuple[Check, ...]:
        """The checks of one strength."""
        return tuple(check for check in self.checks if check.strength == strength)


def run_gate(
    feed: Feed,
    harms: Harms | None,
    arms: tuple[Arm, Arm],
    outcomes: Sequence[Outcome],
    plan: LaunchPlan,
    *,
    planned: str | None = None,
) -> LaunchGate:
    """Whether a treatment may replace the original, by every check of a plan.

    Args:
        feed: the candidates.
        harms: scores made before.
        arms: the original policy and the treatment.
        outcomes: what to measure.
        plan: what must hold.
        planned: the digest of the plan as it was fixed; with another nothing passes.

    Raises:
        PolicyError: a policy is wrong or demotes every candidate of a large feed.
        ValueError: a single user, no harm that the data measure, a name in the plan that is no outcome, a
            group column that the feed lacks, or a policy that draws its order.
    """
    check_plan(plan, feed, outcomes)
    baseline = AngerBaseline.fit(feed)
    original, treatment = (arm.rank(feed, harms, baseline) for arm in arms)
    refuse_to_demote_everything(treatment)
    effectiveness = measure_effectiveness(treatment)
    by_strength = {s: _checked((original, treatment), s, outcomes, plan) for s in plan.strengths}
    demotion = demotion_check(effectiveness, plan, demotes=bool(treatment.policy.demotion))
    full = Checked((*by_strength[1.0].checks, demotion), by_strength[1.0].columns)
    by_strength[1.0] = full
    comparison = compare(
        original, treatment, outcomes, shown=plan.shown[0], also=plan.shown[1:], segments=(), n_resamples=2
    )
    own_ruler = own_ruler_of(comparison)
    claims = claims_of(by_strength, own_ruler, own_ruler_counts=plan.own_ruler_counts)
    scene = _scene((original, treatment), 1.0, plan)
    doses = dose_responses(by_strength, scene.cluster)
    segments = segment_checks(feed, full, scene.cluster, plan)
    reasons = (*reasons_of(full.checks, plan, planned, unit=comparison.cluster), *segments.reasons)
    held = {s: passes(by_strength[s].checks) for s in plan.strengths}
    safe = largest_safe(held | {1.0: held[1.0] and not segments.reasons})
    return LaunchGate(
        passed=not reasons,
        reasons=reasons,
        warnings=warnings_of(scene, claims, doses, own_ruler),
        plan=plan,
        planned=planned,
        checks=tuple(check for s in plan.strengths for check in by_strength[s].checks),
        safe_strength=safe,
        claims=claims,
        doses=doses,
        blended=_how(original, treatment),
        effectiveness=effectiveness,
        comparison=comparison,
        small_groups=small_groups(scene, plan),
        segments=segments,
        safe_settings=_settings(original, treatment, safe),
    )


def check_plan(plan: LaunchPlan, feed: Feed, outcomes: Sequence[Outcome]) -> None:
    """Refuse a plan that this feed cannot be held to.

    Raises:
        ValueError: as `run_gate`.
    """
    kinds = {outcome.name: outcome.kind for outcome in outcomes}
    exposures = tuple(dict.fromkeys((*EXPOSURES, *(n for n, kind in kinds.items() if kind == "exposure"))))
    _known_names("harm", plan.harm, (ANY, *exposures))
    _known_names("topics", plan.topics, TOPICS)
    # the shipped guardrails too, so that a plan with an [activity] of its own may keep the shipped list
    guardrails = dict.fromkeys((*plan.activity.overall, *load_margins().overall))
    may_go = (*exposures, *TOPICS, *guardrails, *plan.groups.columns, DEMOTIONS)
    may_go = (*may_go, *(name for name in plan.allow_not_measured if " without " in name))
    _known_names("allow_not_measured", plan.allow_not_measured, may_go)
    if not any(kind == "exposure" and plan.harm_margin(name) is not None for name, kind in kinds.items()):
        raise ValueError(
            "harm: expected at least one of the plan's outcomes to be measured, got none; name a model, "
            "scores, or a column of known harm"
        )
    check_columns(feed, plan)
    n_users = len(np.unique(clusters_of(feed)[0]))
    if n_users < 2:
        raise ValueError(f"users: expected at least 2 to gate a launch, got {n_users}")


def _known_names(where: str, given: Sequence[str] | Mapping[str, float], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(
                f"plan: {where}: expected a name that is known, got {name!r}{closest(name, known)}"
            )


def _scene(rankings: tuple[Ranking, Ranking], strength: float, plan: LaunchPlan) -> Scene:
    original = rankings[0]
    both = (original, at_strength(*rankings, strength))
    seen = examinations(both, [browsing(spec) for spec in plan.shown])
    return Scene(both, strength, seen, clusters_of(original.feed)[0])


def _checked(
    rankings: tuple[Ranking, Ranking], strength: float, outcomes: Sequence[Outcome], plan: LaunchPlan
) -> Checked:
    """All checks of one strength, but that of the demotions."""
    scene = _scene(rankings, strength, plan)
    parts = [
        exposure_checks(scene, outcomes, plan),
        _not_measured(scene, outcomes, plan),
        activity_checks(scene, outcomes, plan),
        harmless_topic_checks(scene, outcomes, plan),
        group_checks(scene, plan),
    ]
    columns = {key: value for part in parts for key, value in part.columns.items()}
    return Checked(tuple(check for part in parts for check in part.checks), columns)


def _not_measured(scene: Scene, outcomes: Sequence[Outcome], plan: LaunchPlan) -> Checked:
    """Harms and topics that the plan names and the data do not measure."""
    measured = {outcome.name for outcome in outcomes}
    named = [("harm", name, margin) for name, margin in plan.harm.items() if name != ANY]
    named += [("topic", name, margin) for name, margin in plan.topics.items()]
    reason = "expected the data to measure it, got nothing that does"
    return Checked(
        tuple(
            Check(
                "harm" if family == "harm" else "topic",
                name,
                scene.strength,
                "",
                margin,
                reason=reason,
                allowed=name in plan.allow_not_measured,
            )
            for family, name, margin in named
            if name not in measured
        )
    )


def _settings(original: Ranking, treatment: Ranking, safe: float | None) -> tuple[str, ...]:
    return () if safe in (None, 1.0) else settings_at(original.policy, treatment.policy, safe or 1.0)


def _how(original: Ranking, treatment: Ranking) -> str:
    if same_unit(original.policy, treatment.policy):
        return "scores blended as they are: weights interpolated, demotions scaled"
    return "scores blended after each was bounded against its request's median, as the policies' units differ"
