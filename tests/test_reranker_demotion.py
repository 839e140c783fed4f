"""Demotion that works, as laws over heavy-tailed scores (W25, W26, C2, C11)."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scores import HarmScores
from reranker.anger import AngerBaseline
from reranker.assembly import feed_from_columns
from reranker.demotion import (
    borderline,
    fit_bound,
    halvings_needed,
    lowered,
    repeated,
    request_extremes,
    request_medians,
)
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import Curve, PerEvent, Policy, build_policy
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.value import Harms

AWARE = load_policy("harm-aware")
DEMOTED = tuple(AWARE.demotion)
LABELS = AWARE.used_labels()
SYNTHETIC = build_policy(
    {
        "schema": 1,
        "name": "synthetic",
        "weights": {"like": 1, "comment": 30},
        "score": {"bounded": True},
        "media": {"boost": {"live_video": 600}},
        "demotion": {"threat": {"start": 0.3, "line": 0.6, "floor": 0.25}},
    },
    "synthetic",
)

heavy = st.floats(0, 12).map(lambda power: float(round(10**power))) | st.integers(0, 400).map(float)
# what a byte stands for: starts and lines of policies, numbers next to them and to 0 and 1, and all between
LINES = np.array([0.0, 0.05, 0.3, 0.55, 0.8, 1.0], dtype=np.float32)
NEXT = np.concatenate([np.nextafter(LINES, np.float32(side)) for side in (0, 1)])
UNIT = np.concatenate([np.repeat(LINES, 19), NEXT, np.linspace(0, 1, 130, dtype=np.float32)])


@st.composite
def worlds(draw: Any, most: int = 7) -> dict[str, Any]:
    """Columns of some requests with heavy-tailed engagement, and harms (n, L) with their confidence."""
    sizes = draw(st.lists(st.integers(1, most), min_size=1, max_size=3))
    n = sum(sizes)

    def column(of: Any) -> list[Any]:
        return draw(st.lists(of, min_size=n, max_size=n))

    def shares() -> Any:  # of each label; one draw, as thousands of floats take hypothesis seconds
        drawn = draw(st.binary(min_size=n * len(LABELS), max_size=n * len(LABELS)))
        return UNIT[np.frombuffer(drawn, dtype=np.uint8)].reshape(n, len(LABELS))

    places = [i for size in sizes for i in draw(st.permutations(range(size)))]
    return {
        "request_id": [f"r{i}" for i, size in enumerate(sizes) for _ in range(size)],
        "post_id": [f"p{j}" for size in sizes for j in range(size)],
        "original_position": places,
        "like": column(heavy),
        "comment": column(heavy),
        "report": column(st.sampled_from([0.0, 0.0, 1.0, 1e6])),
        "author": column(st.sampled_from(["x", "y", "z"])),
        "media": column(st.sampled_from(["text", "live_video", None])),
        "author_violations": column(st.sampled_from([0, 0, 1, 9])),
        "see_less_requests": column(st.sampled_from([0, 0, 2])),
        "probability": shares(),
        "confidence": shares(),
    }


def feed_of(world: dict[str, Any], **changes: Any) -> Feed:
    given_columns = {k: v for k, v in world.items() if k not in ("probability", "confidence")}
    return feed_from_columns(given_columns | changes)


def harms_of(world: dict[str, Any], probability: Any = None, confidence: Any = None) -> Harms:
    p = world["probability"] if probability is None else probability
    c = world["confidence"] if confidence is None else confidence
    return Harms(HarmScores(LABELS, p, c, "test"), np.full(len(p), np.nan))


def rank(world: dict[str, Any], policy: Policy = AWARE, **changes: Any) -> Ranking:
    return Reranker(policy).rank(feed_of(world, **changes), harms_of(world))


def without_slate(policy: Policy) -> Policy:
    changes = {"author_decay": 1.0, "author_floor": 0.0}
    return policy.model_copy(update={"slate": policy.slate.model_copy(update=changes)})


aware_with = cache(lambda *changes: load_policy("harm-aware", changes))  # read once, not per example


POLICIES = pytest.mark.parametrize(
    "policy", [AWARE, load_policy("harm-aware+live-boost"), SYNTHETIC], ids=["aware", "boosted", "synthetic"]
)


@POLICIES
@settings(deadline=None, max_examples=35)
@given(worlds(), st.data())
def test_a_full_demotion_lands_below_the_undemoted_median_of_its_request(
    policy: Policy, world: dict[str, Any], data: Any
) -> None:
    """W26, W25: whatever the score, a billion and a boost of six hundred included."""
    full = data.draw(st.lists(st.booleans(), min_size=len(world["like"]), max_size=len(world["like"])))
    label = LABELS.index("threat")
    world["probability"][:, :] = 0
    world["confidence"][:, :] = 1
    world["probability"][full, label] = 1
    ranking = rank(world, policy)
    feed, full_rows = ranking.feed, np.array(full)
    undemoted = ranking.multiplier == 1.0
    assert not (full_rows & undemoted).any()
    for request in range(feed.n_requests):
        here = feed.request_of_row == request
        if (undemoted & here).any():
            median = np.median(ranking.score[undemoted & here])
            assert (ranking.score[full_rows & here] < median).all()


@POLICIES
@settings(deadline=None, max_examples=35)
@given(worlds(), st.sampled_from([10.0, 1e3, 1e6, 1e9]))
def test_a_fully_demoted_post_never_gains_from_a_larger_engagement(
    policy: Policy, world: dict[str, Any], times: float
) -> None:
    """W26: its place is not better, whatever the engagement is multiplied by."""
    world["probability"][:, :], world["confidence"][:, :] = 0, 1
    world["probability"][0, LABELS.index("threat")] = 1
    before = rank(world, policy)
    likes = [world["like"][0] * times + times, *world["like"][1:]]
    after = rank(world, policy, like=[min(value, 2.0**53) for value in likes])
    undemoted = (before.multiplier == 1.0) & (before.feed.request_of_row == 0)
    if policy is SYNTHETIC:  # a floor above 0 leaves room among the demoted, never above the median
        assert after.score[0] <= 0.25
        if undemoted.any():
            assert after.score[0] < np.median(after.score[undemoted])
    else:
        assert after.score[0] == before.score[0] == 0
        assert after.position[0] >= before.position[0]


@POLICIES
@settings(deadline=None, max_examples=35)
@given(worlds())
def test_no_boost_lifts_a_post_above_the_ceiling_of_its_demotion(
    policy: Policy, world: dict[str, Any]
) -> None:
    """C11: score <= multiplier, because boosts are inside the bound."""
    for media in ("live_video", "text"):
        ranking = rank(world, policy, media=[media] * len(world["like"]))
        assert (ranking.score <= ranking.multiplier).all()
        assert (ranking.score >= 0).all()
        assert ((ranking.bounded > 0) & (ranking.bounded <= 1)).all()


SLATES = (
    [],
    ["slate.author_decay=0.5", "slate.author_floor=0.25"],
    ["slate.author_decay=1.0", "slate.author_cap=1"],
    ["slate.author_cap=2"],
    ["slate.max_demotion_positions=2"],
    ["demotion.threat.removal=0.6"],
)


@pytest.mark.parametrize(
    "changes", SLATES, ids=["as it is", "decay", "cap", "decay and cap", "moves", "removal"]
)
@pytest.mark.parametrize("threads", [False, True], ids=["flat", "threads"])
@settings(deadline=None, max_examples=20)
@given(worlds(), st.data())
def test_raising_a_harm_never_moves_a_post_up(
    changes: list[str], threads: bool, world: dict[str, Any], data: Any
) -> None:
    """C2, W26: for every label that harm-aware reads, with author, cap, move and thread rules."""
    policy = aware_with(*changes)
    n = len(world["like"])
    extra: dict[str, Any] = {}
    if threads:
        extra["parent_id"] = data.draw(
            st.lists(st.none() | st.sampled_from(["p0", "p1", "p2", "p9"]), min_size=n, max_size=n)
        )
    row, label = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, len(LABELS) - 1))
    probability = world["probability"].copy()
    before = Reranker(policy).rank(feed_of(world, **extra), harms_of(world))
    probability[row, label] = data.draw(st.floats(float(probability[row, label]), 1, width=32))
    after = Reranker(policy).rank(feed_of(world, **extra), harms_of(world, probability))
    if after.position[row] >= 0:  # a removed post stands nowhere; its score has no author decay
        assert after.score[row] <= before.score[row]
        assert before.position[row] >= 0
        gone = before.removed.sum() != after.removed.sum()
        assert gone or after.position[row] >= before.position[row]


@settings(deadline=None, max_examples=35)
@given(worlds(), st.data())
def test_less_confidence_never_strengthens_a_demotion(world: dict[str, Any], data: Any) -> None:
    """Meta's published rule: the strength varies with the confidence of the prediction."""
    factor = data.draw(st.floats(0, 1, width=32))
    sure, unsure = (
        Reranker(AWARE).rank(feed_of(world), harms_of(world, confidence=world["confidence"] * np.float32(f)))
        for f in (1.0, factor)
    )
    assert (unsure.multiplier >= sure.multiplier - 1e-15).all()
    for name, multiplier in unsure.demotions().items():
        assert (multiplier >= sure.demotions()[name] - 1e-15).all()


@settings(deadline=None, max_examples=20)
@given(worlds(), st.sampled_from([0.3, 0.9, 1.0]), st.data())
def test_an_unscored_post_gets_exactly_the_policys_multiplier(
    world: dict[str, Any], given_one: float, data: Any
) -> None:
    """Once, however many labels are unknown; a post that is known for some labels keeps their demotion."""
    policy = load_policy("harm-aware", [f"unscored.multiplier={given_one}"])
    world["probability"][:, :] = np.nan
    world["confidence"][:, :] = np.nan
    columns = {"author_violations": [0] * len(world["like"]), "see_less_requests": [0] * len(world["like"])}
    ranking = Reranker(policy).rank(feed_of(world, **columns), harms_of(world))
    assert (ranking.multiplier == given_one).all()
    product = np.prod(list(ranking.demotions().values()), axis=0)
    assert (product == ranking.multiplier).all()
    known = data.draw(st.integers(0, len(DEMOTED) - 1))
    world["probability"][0, LABELS.index(DEMOTED[known])] = 1.0
    world["confidence"][0, LABELS.index(DEMOTED[known])] = 0.5
    partly = Reranker(policy).rank(feed_of(world, **columns), harms_of(world))
    assert partly.multiplier[0] == pytest.approx(0.5 * given_one)


def test_a_label_that_no_classifier_serves_demotes_nothing_and_is_named() -> None:
    feed = feed_from_columns({"request_id": ["r"], "post_id": ["a"], "like": [1]})
    some = Harms(HarmScores(("toxicity",), np.zeros((1, 1)), np.ones((1, 1)), "m"), np.array([np.nan]))
    policy = load_policy("harm-aware", ["unscored.multiplier=0.5"])
    ranking = Reranker(policy).rank(feed, some)
    assert ranking.multiplier.tolist() == [1.0]
    named = next(term for term in ranking.unscored if term.startswith("labels "))
    assert "misinformation" in named
    assert " toxicity" not in named


# Numbers below 2.2e-308 lose digits when halved.
offsets_and_scores = st.lists(
    st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), max_size=6), min_size=1, max_size=4
)


def ragged(requests: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([v for r in requests for v in r], dtype=float)
    return values, np.concatenate(([0], np.cumsum([len(r) for r in requests]))).astype(np.int64)


@settings(deadline=None)
@given(offsets_and_scores)
def test_medians_and_extremes_per_request_equal_numpys_one_by_one(requests: list[list[float]]) -> None:
    values, offsets = ragged(requests)
    assert request_medians(values, offsets) == pytest.approx([np.median(r) if r else 0.0 for r in requests])
    assert request_extremes(values, offsets, np.minimum).tolist() == [min(r, default=0.0) for r in requests]
    assert request_extremes(values, offsets, np.maximum).tolist() == [max(r, default=0.0) for r in requests]


@settings(deadline=None)
@given(offsets_and_scores)
def test_the_bound_rises_is_a_half_at_the_median_and_stays_inside_zero_and_one(
    requests: list[list[float]],
) -> None:
    """W25, against the formula in plain Python."""
    values, offsets = ragged(requests)
    bound = fit_bound(values, offsets)
    request = np.repeat(np.arange(len(requests)), np.diff(offsets))
    got = bound.apply(values, request)
    for i, scores in enumerate(requests):
        if not scores:
            continue
        centre = float(np.median(scores))
        spread = float(np.median([abs(s - centre) for s in scores]))
        scale = abs(centre) if min(scores) >= 0 and centre else max(abs(centre), spread)
        scale = scale or max(abs(s - centre) for s in scores) or 1.0
        mine = got[request == i]
        for score, bounded in zip(scores, mine.tolist(), strict=True):
            half = 0.5 * scale / (scale + abs(score - centre))
            assert bounded == pytest.approx(1 - half if score >= centre else half, rel=1e-6, abs=1e-9)
        order = np.argsort(scores, kind="stable")
        assert (np.diff(mine[order]) >= 0).all()
        assert bound.apply(np.array([centre]), np.array([i]))[0] == pytest.approx(0.5, abs=1e-9)
        assert ((mine > 0) & (mine <= 1)).all()


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=30, unique=True))
def test_the_bound_is_strictly_monotone_for_whole_scores_up_to_a_trillion_of_usual_medians(
    scores: list[int],
) -> None:
    """W25: a few hundred is usual, a billion happens: different scores stay different.

    The slope at a score s is scale / (2 (scale + d)^2); two whole scores at 1e9 over a median of 300 are
    150 / 1e18 = 1.5e-16 apart, about the spacing of doubles below 1, so neighbours there may meet.
    """
    values = np.array(sorted(scores), dtype=float)
    offsets = np.array([0, len(values) + 2 * len(values) + 1])
    usual = np.concatenate([values, np.full(2 * len(values) + 1, 300.0)])
    got = fit_bound(usual, offsets).apply(values, np.zeros(len(values), dtype=np.int64))
    assert (np.diff(got) >= 0).all()
    apart = np.diff(values) > 1e-3 * (values[1:] + 300)
    distant = apart & (values[1:] <= 1e12)
    assert (np.diff(got)[distant] > 0).all()
    assert ((got > 0) & (got < 1)).all()


CURVE = Curve(start=0.4, line=0.8, floor=0.1)


@pytest.mark.parametrize(
    ("p", "confidence", "multiplier"),
    [
        (0.0, 1, 1.0),
        (0.4, 1, 1.0),
        (0.5, 1, 0.775),
        (0.6, 1, 0.55),
        (0.8, 1, 0.1),
        (1.0, 1, 0.1),
        (0.8, 0.5, 0.55),
        (0.8, 0, 1.0),
    ],
)
def test_the_borderline_curve_falls_from_start_to_line(
    p: float, confidence: float, multiplier: float
) -> None:
    """C2: 1 - confidence * .9 * (p - .4) / .4 between, and distribution declines towards the line."""
    got = borderline(np.array([p]), np.array([float(confidence)]), CURVE)
    assert got == pytest.approx([multiplier])


def test_a_curve_of_no_width_is_a_step_and_nan_stays_nan() -> None:
    step = Curve(start=0.5, line=0.5, floor=0.5)
    got = borderline(np.array([0.49, 0.5, 0.9, np.nan]), np.array([1.0, 1.0, 0.5, np.nan]), step)
    assert got[:3].tolist() == [1.0, 0.5, 0.75]
    assert np.isnan(got[3])
    assert np.isnan(borderline(np.array([np.nan]), np.array([np.nan]), CURVE)[0])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0, 1))
def test_the_borderline_curve_never_rises(p: list[float], confidence: float) -> None:
    """C2."""
    got = borderline(np.sort(p), np.full(len(p), confidence), CURVE)
    assert (np.diff(got) <= 0).all()
    assert ((got >= 0.1 - 1e-12) & (got <= 1)).all()


def test_repeated_violations_and_see_less_requests_shrink_down_to_a_floor() -> None:
    got = repeated(np.array([0, 1, 2, 100, np.nan]), PerEvent(per_event=0.2, floor=0.3))
    assert got == pytest.approx([1.0, 0.8, 0.64, 0.3, 1.0])


@pytest.mark.parametrize(
    ("score", "reference", "n"),
    [(1e9, 300, 22), (300, 300, 1), (299, 300, 0), (600, 300, 2), (601, 300, 2), (1200, 300, 3), (1, 1e9, 0)],
)
def test_a_billion_must_be_halved_twenty_two_times(score: float, reference: float, n: int) -> None:
    """W26: 1e9 / 2**21 = 476.8 and 1e9 / 2**22 = 238.4."""
    assert halvings_needed(score, reference) == n
    assert score / 2**n < reference
    assert n == 0 or score / 2 ** (n - 1) >= reference


@pytest.mark.parametrize(("score", "reference"), [(0, 1), (1, 0), (-1, 1)])
def test_only_positive_scores_can_be_halved(score: float, reference: float) -> None:
    with pytest.raises(ValueError, match="expected positive numbers"):
        halvings_needed(score, reference)


@given(st.floats(-1e9, 1e9), st.floats(0, 1), st.floats(0, 1))
def test_lowering_never_raises_and_more_lowers_more(score: float, first: float, second: float) -> None:
    least, most = sorted((first, second))
    low, high = (float(lowered(np.array([score]), np.array([m]))[0]) for m in (least, most))
    assert low <= high <= score


def test_anger_and_violations_are_demotions_of_their_own() -> None:
    """W13: the product of all that apply, each by name."""
    feed = feed_from_columns(
        {
            "request_id": ["r"] * 2,
            "post_id": ["a", "b"],
            "like": [100, 100],
            "angry": [900, 0],
            "author_violations": [1, 0],
            "see_less_requests": [0, 3],
        }
    )
    ranking = Reranker(AWARE, baseline=AngerBaseline({}, {})).rank(feed)
    found = {name: values.round(6).tolist() for name, values in ranking.demotions().items()}
    assert found == {"anger": [0.2, 1.0], "repeat_offender": [0.85, 1.0], "fatigue": [1.0, 0.512]}
    assert ranking.multiplier == pytest.approx([0.17, 0.512])
