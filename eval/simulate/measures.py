"""What is read off simulated worlds, and its change between arms with an interval over seeds."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.clustered import Estimate, clustered_mean
from eval.simulate.behaviour import OUTCOMES
from eval.simulate.parameters import HARMS, POSITIVE
from eval.simulate.run import WorldRun
from reranker.columns import FloatArray

Kind = Literal["exposure", "activity", "signal", "satisfaction", "supply"]
Arms = tuple[WorldRun, ...]


@dataclass(frozen=True)
class Measure:
    """One outcome: a ratio of two weekly sums.

    `margin` is the name of its margin in eval/margins.toml, or "". `relative` says whether its change is a
    share of what was before, or a difference.
    """

    name: str
    title: str
    kind: Kind
    unit: str
    relative: bool = True
    margin: str = ""


_PER_PERSON = "per person and week"
MEASURES = (
    *(Measure(h, h.replace("_", " "), "exposure", "per 1,000 views") for h in HARMS),
    *(Measure(f"{h}_seen", f"{h.replace('_', ' ')} seen", "exposure", _PER_PERSON) for h in HARMS),
    Measure("sessions", "sessions", "activity", _PER_PERSON, margin="sessions"),
    Measure("views", "posts seen", "activity", _PER_PERSON),
    Measure("time_s", "time spent", "activity", f"seconds {_PER_PERSON}", margin="time"),
    Measure(
        "positive",
        "positive interactions",
        "activity",
        _PER_PERSON,
        margin="positive_interactions",
    ),
    Measure("like", "likes", "activity", _PER_PERSON),
    Measure("comments", "comments", "activity", _PER_PERSON, margin="comments"),
    Measure("reshare", "shares", "activity", _PER_PERSON, margin="shares"),
    Measure("original_posts", "original posts", "activity", _PER_PERSON, margin="original_posts"),
    Measure("angry", "angry reactions", "signal", _PER_PERSON),
    Measure("hide", "posts hidden", "signal", _PER_PERSON),
    Measure("report", "posts reported", "signal", _PER_PERSON),
    Measure("angry_received", "angry reactions on people's posts", "signal", _PER_PERSON),
    Measure("satisfaction", "satisfaction with what was seen", "satisfaction", "per view", relative=False),
    Measure("survey", "survey answer, 1 to 5", "satisfaction", "mean", relative=False),
    Measure("negative_posts", "negative share of publishers' posts", "supply", "share", relative=False),
    Measure("negative_views", "negative share of what is seen of them", "supply", "share", relative=False),
)
BY_NAME = {measure.name: measure for measure in MEASURES}


def weekly(run: WorldRun, name: str) -> tuple[FloatArray, FloatArray]:
    """(weeks,) numerators and denominators of a measure.

    Raises:
        ValueError: there is no such measure.
    """
    if name not in BY_NAME:
        raise ValueError(f"measure: expected one of {', '.join(BY_NAME)}, got {name!r}")
    sums = dict(zip(OUTCOMES, run.outcomes.sum(axis=1).T, strict=True))
    weeks, people = len(run.coming), np.full(len(run.coming), float(run.n_users))
    own = {
        "sessions": run.coming * run.outcomes.shape[1] * run.n_users,
        "positive": sum((sums[action] for action in POSITIVE), np.zeros(weeks)),
        "comments": sums["comment"] + sums["significant_comment"],
        "original_posts": run.original_posts,
        "angry_received": run.angry_received,
    }
    if name in HARMS:
        return 1000.0 * sums[name], sums["views"]
    if name.endswith("_seen"):
        return sums[name.removesuffix("_seen")], people
    if name == "satisfaction":
        return sums[name], sums["views"]
    if name == "survey":
        return sums["answer_sum"], sums["answers"]
    if name in ("negative_posts", "negative_views"):
        return getattr(run, name), np.ones(weeks)
    return own.get(name, sums.get(name, people)), people


def level(runs: tuple[Arms, ...], arm: int, name: str, weeks: slice = np.s_[:]) -> float:
    """A measure under an arm, over all worlds and the given weeks."""
    parts = [weekly(arms[arm], name) for arms in runs]
    return float(sum(n[weeks].sum() for n, _ in parts) / sum(d[weeks].sum() for _, d in parts))


def change(runs: tuple[Arms, ...], name: str, weeks: slice = np.s_[:], *, arm: int = 1) -> Estimate:
    """The change of a measure from the first arm, each world one observation: a t interval over seeds.

    Args:
        runs: arms of each world.
        name: of the measure.
        weeks: that count.
        arm: compared with arm 0.

    Raises:
        ValueError: fewer than two worlds, or nothing to compare with.
    """
    values = np.array([_change_of(arms, name, weeks, arm) for arms in runs])
    return clustered_mean(values, np.arange(len(values), dtype=np.int64))


def _change_of(arms: Arms, name: str, weeks: slice, arm: int) -> float:
    (n0, d0), (n1, d1) = weekly(arms[0], name), weekly(arms[arm], name)
    before, after = n0[weeks].sum() / d0[weeks].sum(), n1[weeks].sum() / d1[weeks].sum()
    if not BY_NAME[name].relative:
        return float(after - before)
    if before == 0.0:
        raise ValueError(f"{name}: expected some of it under the first policy, got none")
    return float(after / before - 1.0)


def first_session_change(runs: tuple[Arms, ...], name: str, *, arm: int = 1) -> Estimate:
    """The relative change in the first session after the arms part: same people, posts and predictions.

    This is what a replay of one request at a time can measure at best (level L1).

    Raises:
        ValueError: fewer than two worlds, or the measure is no outcome of a session.
    """
    outcome, per_view = name.removesuffix("_seen"), name in HARMS
    if outcome not in OUTCOMES:
        raise ValueError(f"measure: expected an outcome of a session, got {name!r}")
    values = []
    for arms in runs:
        first = [run.outcomes[0, 0] for run in (arms[0], arms[arm])]
        rates = [one[OUTCOMES.index(outcome)] / (one[0] if per_view else 1.0) for one in first]
        values.append(rates[1] / rates[0] - 1.0)
    return clustered_mean(np.array(values), np.arange(len(values), dtype=np.int64))
