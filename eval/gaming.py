"""Alarms: posts whose comments or reactions look made, each with what an innocent post would explain it by.

A lively post differs from its publisher's habit too. An alarm therefore needs two signs at once, one of what
was done and one of who did it or when, each beyond how posts of this file differ anyway; and the rate of
false alarms is held over all tests together. An alarm is a reason to look, never a verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from eval.excess import Excess, all_of, any_of, excess
from eval.multiplicity import benjamini_hochberg
from reranker.columns import FloatArray, IntArray

Q = 0.05
FEWEST_ACTS = 20.0
INNOCENT = {
    "comment spam": "a lively thread: a few readers who answer each other at length and in haste, or a game "
    "or prize that asks for one word",
    "reaction brigade": "a post shared in another community, or news to which everybody reacts alike within "
    "the hour",
    "angry brigade": "an outrage that deserves anger, reported first by this publisher and read by a small "
    "circle",
}


@dataclass(frozen=True, eq=False)
class Acts:
    """What is known of the comments, or of the reactions, of n posts; NaN where it is not.

    Attributes:
        n: (n,) acts.
        repeats: (n,) acts by accounts that had acted on the post already: acts less distinct accounts.
        newcomers: (n,) acts by accounts that act on no other post of the file.
        peak: (n,) acts within the busiest hour.
        alike: (n,) comments with fewer than five unique tokens, or with a text that another has.
        kinds: by reaction (n,) acts of that kind.
    """

    n: FloatArray
    repeats: FloatArray
    newcomers: FloatArray
    peak: FloatArray
    alike: FloatArray
    kinds: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Sign:
    """One part of a post that is larger than its habit."""

    name: str
    share: float
    habit: float
    p: float


@dataclass(frozen=True)
class Alarm:
    """One post that stands out.

    Attributes:
        kind: of `INNOCENT`.
        post: index of the post.
        p, p_adjusted: by itself, and by Benjamini and Hochberg over all tests of all kinds.
        signs: those tested, smallest p first.
        innocent: what else it may be.
    """

    kind: str
    post: int
    p: float
    p_adjusted: float
    signs: tuple[Sign, ...]
    innocent: str


@dataclass(frozen=True, eq=False)
class GamingAlarms:
    """What was tested and what stood out.

    Attributes:
        alarms: smallest adjusted p first.
        n_tested: by kind, posts.
        refused: by kind, why it could not be tested.
        q: expected share of false ones among the alarms, at most.
    """

    alarms: tuple[Alarm, ...]
    n_tested: dict[str, int]
    refused: dict[str, str]
    q: float


def gaming_alarms(
    unit: IntArray,
    *,
    comments: Acts | None = None,
    reactions: Acts | None = None,
    angry: Acts | None = None,
    q: float = Q,
) -> GamingAlarms:
    """Comment spam, reaction brigades, and angry brigades against a publisher.

    Comment spam: many comments per account, and either little said or all at once. Reaction brigade: few or
    new accounts, and either one hour or one reaction. Angry brigade: an angry share beyond the publisher's
    habit, and few or new accounts or one hour.

    Args:
        unit: (n,) integer codes of the publisher of each post.
        comments: acts of each post; None where there are none.
        reactions: the same of reactions.
        angry: the angry ones alone; its `kinds` hold "reactions", all of them, of which it is a share.
        q: false alarms among the alarms, at most, on average.
    """
    tests: dict[str, tuple[FloatArray, dict[str, Excess]]] = {}
    refused = {}
    for kind, acts in (("comment spam", comments), ("reaction brigade", reactions), ("angry brigade", angry)):
        if acts is None:
            refused[kind] = "no single acts of this kind, and no column that sums them up"
            continue
        try:
            tests[kind] = (
                _spam(acts)
                if kind == "comment spam"
                else (_brigade(acts, unit) if kind == "reaction brigade" else _angry(acts, unit))
            )
        except ValueError as error:
            refused[kind] = str(error)
    return GamingAlarms(
        alarms=_alarms(tests, q),
        n_tested={kind: int((~np.isnan(p)).sum()) for kind, (p, _) in tests.items()},
        refused=refused,
        q=q,
    )


def _spam(acts: Acts) -> tuple[FloatArray, dict[str, Excess]]:
    signs = _signs(
        {"repeated accounts": acts.repeats, "little said": acts.alike, "one hour": acts.peak}, acts.n
    )
    _need(signs, "repeated accounts")
    _need(signs, "little said", "one hour")
    return all_of(_p(signs, "repeated accounts"), _p(signs, "little said", "one hour")), signs


def _brigade(acts: Acts, unit: IntArray) -> tuple[FloatArray, dict[str, Excess]]:
    signs = _signs(
        {
            "repeated accounts": acts.repeats,
            "accounts seen nowhere else": acts.newcomers,
            "one hour": acts.peak,
        },
        acts.n,
    )
    for name, counts in acts.kinds.items():
        signs |= _signs({f"{name} alone": counts}, acts.n, unit)
    _need(signs, "repeated accounts", "accounts seen nowhere else")
    kinds = [f"{name} alone" for name in acts.kinds]
    _need(signs, "one hour", *kinds)
    return all_of(
        _p(signs, "repeated accounts", "accounts seen nowhere else"), _p(signs, "one hour", *kinds)
    ), signs


def _angry(acts: Acts, unit: IntArray) -> tuple[FloatArray, dict[str, Excess]]:
    who = ("repeated accounts", "accounts seen nowhere else", "one hour")
    signs = _signs(dict(zip(who, (acts.repeats, acts.newcomers, acts.peak), strict=True)), acts.n)
    signs |= _signs({"angry share": acts.n}, acts.kinds["reactions"], unit)
    _need(signs, "angry share")
    _need(signs, *who)
    return all_of(_p(signs, "angry share"), _p(signs, *who)), signs


def _signs(
    parts: Mapping[str, FloatArray], whole: FloatArray, unit: IntArray | None = None
) -> dict[str, Excess]:
    """The tests that can be made; a part that was not measured, or on too few posts, is left out."""
    found = {}
    for name, part in parts.items():
        if (~np.isnan(part) & (whole >= FEWEST_ACTS)).sum() >= FEWEST_ACTS:
            found[name] = excess(part, whole, group=unit, at_least=FEWEST_ACTS)
    return found


def _need(signs: Mapping[str, Excess], *names: str) -> None:
    if not any(name in signs for name in names):
        raise ValueError(
            f"{' or '.join(names)}: expected to be known of at least {FEWEST_ACTS:g} posts with "
            f"{FEWEST_ACTS:g} acts each, got fewer"
        )


def _p(signs: Mapping[str, Excess], *names: str) -> FloatArray:
    return any_of(*(signs[name].p for name in names if name in signs))


def _alarms(tests: Mapping[str, tuple[FloatArray, dict[str, Excess]]], q: float) -> tuple[Alarm, ...]:
    rows = [(kind, post) for kind, (p, _) in tests.items() for post in np.flatnonzero(~np.isnan(p)).tolist()]
    if not rows:
        return ()
    every = np.array([tests[kind][0][post] for kind, post in rows])
    adjusted = benjamini_hochberg(every)
    found = []
    for i in np.flatnonzero(adjusted <= q).tolist():
        kind, post = rows[i]
        signs = [
            Sign(name, float(one.share[post]), float(one.habit[post]), float(one.p[post]))
            for name, one in tests[kind][1].items()
            if not np.isnan(one.p[post])
        ]
        told = tuple(sorted(signs, key=lambda sign: (sign.p, sign.name)))
        found.append(Alarm(kind, post, float(every[i]), float(adjusted[i]), told, INNOCENT[kind]))
    return tuple(sorted(found, key=lambda alarm: (alarm.p_adjusted, alarm.p, alarm.kind, alarm.post)))
