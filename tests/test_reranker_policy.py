"""Policies as closed, dated, digested data."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.policy import MAX_FLOOR, Policy, PolicyError, build_policy
from reranker.presets import load_policy

SMALL: dict[str, Any] = {"schema": 1, "name": "small", "weights": {"like": 1, "angry": 5}}


def build(**changes: Any) -> Policy:
    return build_policy(SMALL | changes, "small.toml")


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_number_is_refused(schema: Any) -> None:
    with pytest.raises(PolicyError, match=r"small.toml: schema: expected 1, got"):
        build(schema=schema)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wieghts": {}}, r'wieghts: unknown key; did you mean "weights"\?'),
        ({"slate": {"author_decya": 1}}, r'slate.author_decya: unknown key; did you mean "author_decay"\?'),
        ({"weights": {"angyr": 1}}, r'weights: unknown signal "angyr"; did you mean "angry"\?'),
        (
            {"relationship": {"strangr": 1}},
            r'relationship: unknown relation "strangr"; did you mean "stranger"',
        ),
        (
            {"override": {"country": {"MM": {"hahah": 0}}}},
            r'override.country.MM: unknown signal "hahah"; did',
        ),
        ({"override": {"planet": {}}}, "override"),
        ({"drop": ["angyr"]}, r'drop: unknown signal "angyr"; did you mean "angry"\?'),
        ({"labels": {"toxicty": 1}}, r'labels: unknown label "toxicty"; did you mean "toxicity"\?'),
        ({"demotion": {"toxicty": {"start": 0.1, "line": 0.2}}}, r'demotion: unknown label "toxicty"; did'),
        ({"value": {"harms": {"toxicty": 1}}}, r'value.harms: unknown label "toxicty"; did'),
        ({"value": {"endorsed": {"lik": 1}}}, r'value.endorsed: unknown signal "lik"; did'),
        ({"value": {"sensitivity": {"lik": 1}}}, r'value.sensitivity: unknown signal "lik"; did'),
        ({"media": {"boost": {"live": 2}}}, r'media.boost: unknown media type "live"'),
        (
            {"levers": {"low_connection_media": {"vidoe": 1}}},
            r'low_connection_media: unknown media type "vidoe"',
        ),
        ({"mix": {"weights": {"lik": 1}}}, r'mix.weights: unknown signal "lik"'),
        ({"mix": {"media": ["vidoe"]}}, r'mix.media: unknown media type "vidoe"'),
        (
            {"mix": {"relation": ["freind"]}},
            r'mix.relation: unknown relation "freind"; did you mean "friend"',
        ),
        ({"weights": {"like": float("nan")}}, r"weights.like: .*finite number, got nan"),
        ({"weights": {"like": "much"}}, r"weights.like: .*number.*, got 'much'"),
        ({"holdout": {"share": 1.5}}, r"holdout.share: expected less than or equal to 1, got 1.5"),
        ({"guard": {"max_signal_share": 0.4}}, r"guard.max_signal_share: .*got 0.4"),
        ({"slate": {"author_cap": 0}}, r"slate.author_cap: .*got 0"),
        ({"blend": {"old": "fb-2017"}}, r"blend.alpha: expected a value, got none"),
        (
            {"demotion": {"threat": {"start": 0.6, "line": 0.5}}},
            r"demotion.threat.line: expected at least start",
        ),
        (
            {"demotion": {"threat": {"start": 0.6, "line": 0.9, "removal": 0.7}}},
            r"demotion.threat.removal: expected at least line \(0.9\), got 0.7",
        ),
    ],
)
def test_what_a_policy_does_not_know_is_refused_with_the_place_and_the_nearest_name(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PolicyError, match=r"small\.toml: " + ".*" + message):
        build(**changes)


CURVE = {"start": 0.4, "line": 0.8}


def test_a_bounded_policy_must_demote_below_the_undemoted_median() -> None:
    """W26: an engagement of zero is bounded to 1/4; with terms below zero even that is not sure."""
    at_most = {"threat": CURVE | {"floor": MAX_FLOOR}}
    assert build(score={"bounded": True}, demotion=at_most).demotion["threat"].floor == 0.25
    too_much = {"threat": CURVE | {"floor": 0.26}}
    assert build(demotion=too_much).demotion["threat"].floor == 0.26  # unbounded policies are history
    with pytest.raises(PolicyError, match=r"demotion.threat.floor: expected at most 0.25 .* got 0.26"):
        build(score={"bounded": True}, demotion=too_much)
    decay = {"score": {"bounded": True}, "slate": {"author_decay": 0.5, "author_floor": 0.4}}
    assert build(**decay, demotion={"threat": CURVE | {"floor": 0.1}}).slate.author_floor == 0.4
    with pytest.raises(PolicyError, match=r"demotion.threat.floor: expected at most 0.1 "):
        build(**decay, demotion=at_most)


@pytest.mark.parametrize(
    "below_zero",
    [
        {"weights": {"report": -1}},
        {"mix": {"weights": {"hide": -1}}},
        {"override": {"country": {"MM": {"haha": -1}}}},
        {"value": {"bad_weight": -0.5}},
        {"labels": {"toxicity": -1}},
        {"levers": {"computing_load_cost": 0.1}},
        {"blend": {"old": "x", "alpha": 0.5, "scale": {"weights": {"report": -1}}}},
        {"blend": {"old": "x", "alpha": 0.5, "scale": {"override": {"language": {"my": {"haha": -1}}}}}},
    ],
)
def test_a_bounded_policy_with_terms_below_zero_must_demote_to_zero(below_zero: dict[str, Any]) -> None:
    """W26."""
    bounded = {"score": {"bounded": True}, **below_zero}
    assert build(**bounded, demotion={"threat": CURVE}).score.bounded
    with pytest.raises(PolicyError, match=r"demotion.threat.floor: expected at most 0.0"):
        build(**bounded, demotion={"threat": CURVE | {"floor": 0.1}})


def test_the_digest_does_not_change_with_what_only_describes() -> None:
    """W34."""
    named = build(name="other", date="2020-01-01", title="t", description="d", sources={"weights": "W1"})
    assert named.digest == build().digest
    assert build(weights={"angry": 5.0, "like": 1.0}).digest == build().digest
    assert len(build().digest) == 64


EFFECTIVE = {
    "weights.angry=4": 0,
    "weights.love=5": 0,
    "relationship.stranger=0.3": 0,
    "override.country.MM.haha=0": 0,
    "significance.min_unique_tokens=6": 0,
    "filters.deleted=true": 0,
    "media.boost.live_video=600": 0,
    "media.boost_cap=60": 0,
    "levers.computing_load_cost=0.5": 0,
    "mix.share=0.2": 0,
    "guard.max_signal_share=0.7": 0,
    "value.bad_weight=0.5": 0,
    "value.endorsed.like=0.9": 0,
    "unscored.multiplier=0.9": 0,
    "slate.author_decay=0.5": 0,
    "slate.max_demotion_positions=3": 0,
    "holdout.share=0.1": 0,
    "score.seed=1": 0,
    'drop=["angry"]': 0,
    "labels.toxicity=-1": 0,
    "fatigue.per_event=0.2": 0,
}


def test_the_digest_changes_with_every_effective_number() -> None:
    """W34."""
    digests = {load_policy("chronological", [setting]).digest for setting in EFFECTIVE}
    assert len(digests | {load_policy("chronological").digest}) == len(EFFECTIVE) + 1


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_two_weights_have_one_digest_exactly_if_they_are_equal(first: float, second: float) -> None:
    same = build(weights={"like": first}).digest == build(weights={"like": second}).digest
    assert same == (repr(first) == repr(second))


def test_used_labels_are_those_of_demotions_values_and_label_weights() -> None:
    policy = build(
        labels={"respect": 1},
        demotion={"threat": CURVE},
        value={"harms": {"clickbait": 0.5}, "comment_toxicity": 0.5},
    )
    assert policy.used_labels() == ("toxicity", "threat", "clickbait", "respect")
    assert build().used_labels() == ()


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build().name = "other"  # type: ignore[misc]
