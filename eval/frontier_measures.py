"""What a frontier weighs: an index of harm, an activity, and what must not be lost.

The harm index is the mean of the relative changes of its harms, each with a weight, so that a rare harm
counts as much as a common one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eval.frontier_choice import Limit
from eval.outcomes import Outcome
from reranker.columns import FloatArray, closest
from reranker.feed import Feed

HARM = "harm_index"
ACTIVITY = "activity"
TOPIC = "topic:"


@dataclass(frozen=True, eq=False)
class Measures:
    """What policies are compared by.

    Attributes:
        outcomes: M columns of the feed, each measured once.
        harm: weight of each harm in the index, summing to 1.
        activity: name of the statistic that is activity.
        columns: of each further statistic, the outcome that it is the change of.
        left_out: harms that the original never shows.
    """

    outcomes: tuple[Outcome, ...]
    harm: Mapping[str, float]
    activity: str
    columns: Mapping[str, str]
    left_out: tuple[str, ...] = ()

    def outcome(self, name: str) -> Outcome:
        """The outcome of a name."""
        return next(one for one in self.outcomes if one.name == name)

    @property
    def statistics(self) -> tuple[str, ...]:
        """S names: the index, activity and limits, then each harm."""
        return (HARM, *self.columns)

    @cached_property
    def mixes(self) -> FloatArray:
        """(M, S) weights of the outcomes' changes in each statistic."""
        names = [one.name for one in self.outcomes]
        made = np.zeros((len(names), len(self.statistics)))
        for name, weight in self.harm.items():
            made[names.index(name), 0] = weight
        for s, column in enumerate(self.columns.values(), 1):
            made[names.index(column), s] = 1.0
        return made


def make_measures(
    feed: Feed,
    outcomes: Sequence[Outcome],
    *,
    harm: Sequence[str] = (),
    activity: str = "positive_activity",
    limits: Sequence[Limit] = (),
) -> Measures:
    """The measures that names stand for.

    Args:
        feed: the candidates, for their topics.
        outcomes: all that this feed can be measured on.
        harm: NAME or NAME=WEIGHT of exposure outcomes; none is every exposure that is a probability or share.
        activity: an activity outcome.
        limits: on outcomes, "activity" or "topic:NAME".

    Raises:
        ValueError: a name not measured or stated twice, no harm at all, or a weight that is not positive.
    """
    known = {one.name: one for one in outcomes}
    weighted = [_weighted(entry) for entry in harm]
    _once("--harm", [name for name, _ in weighted])
    _once("--max-loss", [limit.name for limit in limits])
    chosen = dict(weighted)
    if not chosen:
        chosen = {o.name: 1.0 for o in outcomes if o.kind == "exposure" and o.unit != "count"}
        shown_never = tuple(name for name in chosen if not np.nansum(known[name].values) > 0)
        chosen = {name: weight for name, weight in chosen.items() if name not in shown_never}
    else:
        shown_never = ()
    if not chosen:
        raise ValueError(
            "harm: expected an outcome of exposure to harm, got none; name a --truth column, a --lexicon, "
            "--domains or a --model"
        )
    for name in chosen:
        if name not in known or known[name].kind != "exposure":
            names = [o.name for o in outcomes if o.kind == "exposure"]
            raise ValueError(_unknown("--harm", name, names))
    if activity not in known or known[activity].kind != "activity":
        raise ValueError(_unknown("--activity", activity, [o.name for o in outcomes if o.kind == "activity"]))
    columns = {activity: activity} | {name: name for name in chosen}
    for limit in limits:
        found = _limited(feed, known, limit.name, activity)
        known[found.name] = found
        columns[limit.name] = found.name
    used = dict.fromkeys([*chosen, *columns.values()])
    total = sum(chosen.values())
    weights = {name: weight / total for name, weight in chosen.items()}
    return Measures(tuple(known[name] for name in used), weights, activity, columns, shown_never)


def check_shown(measures: Measures, original: FloatArray, policy: str) -> None:
    """Refuse outcomes that some half of the users is never shown, to which no change is relative.

    Args:
        measures: what is measured.
        original: (q, M) exposure in the requests of a half under the original.
        policy: its name.

    Raises:
        ValueError: names the outcome.
    """
    for m, outcome in enumerate(measures.outcomes):
        n_shown = int((original[:, m] > 0).sum())
        if not n_shown:
            raise ValueError(
                f"{outcome.name}: expected a request in which {policy} shows some of it, got 0 of "
                f"{len(original)} in one half of the users; a change cannot be relative to nothing"
            )


def _limited(feed: Feed, known: Mapping[str, Outcome], name: str, activity: str) -> Outcome:
    """The outcome that a limit is on."""
    if name == ACTIVITY:
        return known[activity]
    if name in known:
        return known[name]
    topic = name.removeprefix(TOPIC)
    if topic != name and topic in feed.topic.values:
        about = (feed.topic.codes == feed.topic.code_of(topic)).astype(np.float64)
        about[feed.topic.is_null] = np.nan
        return Outcome(name, "context", about, f"share of shown posts about {topic}", "share")
    if topic != name and topic in known:
        return known[topic]
    topics = [f"{TOPIC}{value}" for value in feed.topic.present()]
    raise ValueError(_unknown("--max-loss", name, [ACTIVITY, *known, *topics]))


def _once(option: str, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"{option}: expected each name once, got {name} twice")


def _weighted(entry: str) -> tuple[str, float]:
    name, given, weight = entry.partition("=")
    try:
        value = float(weight) if given else 1.0
    except ValueError:
        value = 0.0
    if not 0 < value < np.inf:
        raise ValueError(f"--harm: expected NAME or NAME=WEIGHT above 0, got {entry!r}")
    return name, value


def _unknown(option: str, name: str, names: Sequence[str]) -> str:
    listed = ", ".join(names) or "none"
    hint = closest(name, tuple(names))
    return f"{option}: expected an outcome that is measured ({listed}), got {name!r}{hint}"
