import numpy as np
import pytest

from eval.frontier_choice import parse_limit
from eval.frontier_measures import HARM, make_measures
from eval.frontier_space import SHIPPED, make_space, read_space
from eval.outcomes import standard_outcomes
from reranker.presets import load_policy
from tests.frontier_world import RANGES, angry_feed, found_on


def test_a_line_is_raised_to_its_start_and_joined_names_move_together():
    space = make_space(
        load_policy("harm-aware"),
        {
            "weights": {"love+sad": {"low": 0, "high": 5}},
            "demotion": {"toxicity": {"start": {"low": 0.1, "high": 0.9}, "line": {"low": 0.2, "high": 1}}},
        },
    )
    policy = space.policy(
        {"weights.love+sad": 3.25, "demotion.toxicity.start": 0.7, "demotion.toxicity.line": 0.3}
    )
    assert (policy.weights["love"], policy.weights["sad"]) == (3.25, 3.25)
    assert (policy.demotion["toxicity"].start, policy.demotion["toxicity"].line) == (0.7, 0.7)
    assert space.policy({}).digest == load_policy("harm-aware").digest


def test_the_shipped_space_is_legal_around_the_presets_that_can_be_searched():
    for name in ("harm-aware", "fb-2018-h1", "fb-2020-10", "fb-2017"):
        assert len(read_space(load_policy(name), SHIPPED).dimensions) > 15


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected at least one setting with low and high, got none"),
        ({"weights": {"like": {"low": 2, "high": 1}}}, "expected low below high, got 2 and 1"),
        ({"weights": {"like": 3}}, r"weights.like: expected \{ low = NUMBER, high = NUMBER \}, got 3"),
        ({"weights": {"liked": {"low": 0, "high": 1}}}, 'unknown signal "liked"; did you mean "like"'),
        (
            {"guard": {"max_signal_share": {"low": 0.2, "high": 1}}},
            "max_signal_share.*greater than or equal",
        ),
        ({"value": {"bad_weight": {"low": 0, "high": 2}}}, "value.bad_weight.*less than or equal to 1"),
        ({"significance": {"min_unique_tokens": {"low": 1, "high": 9}}}, "cannot be searched exactly"),
        (
            {"demotion": {"toxicity": {"floor": {"low": 0, "high": 0.2}}}},
            "floor: expected at most 0.0",
        ),
        ({"demotion": {"toxicity": {"start": {"low": 0.1, "high": 0.8}}}}, "expected at least start"),
    ],
)
def test_a_space_that_is_not_legal_everywhere_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        make_space(load_policy("harm-aware"), content)


@pytest.mark.parametrize("setting", ["score.order_by='uniform'", "holdout.share=0.1", "mix.share=0.5"])
def test_a_base_with_a_rule_that_cannot_be_scored_at_once_is_refused(setting):
    with pytest.raises(ValueError, match=r"--base harm-aware: .* in a search"):
        make_space(load_policy("harm-aware", [setting]), {"weights": {"like": {"low": 0, "high": 1}}})


def test_a_space_that_the_feed_cannot_feel_is_refused_and_one_in_part_says_what_was_left_out():
    with pytest.raises(
        ValueError, match=r"expected a setting that this feed can feel, got only weights.book"
    ):
        found_on(angry_feed(), ranges={"weights.bookmark": (0, 1)}, trials=10)
    found = found_on(angry_feed(80), ranges=RANGES | {"weights.bookmark": (0, 1)}, trials=10)
    assert found.space.left_out == ("weights.bookmark",)


def test_too_few_users_are_refused():
    with pytest.raises(ValueError, match=r"users: expected at least 30 in the \S+ half, got \d+ of 50"):
        found_on(angry_feed(50))


@pytest.mark.parametrize(
    ("harm", "limit", "message"),
    [
        (
            ("nothing",),
            "activity=0.1",
            "nothing: expected a request in which fb-2018-h1 shows some",
        ),
        (("harms",), "activity=0.1", r"--harm: expected an outcome that is measured .*did you mean \"harm\""),
        (("harm=-1",), "activity=0.1", "--harm: expected NAME or NAME=WEIGHT above 0"),
        (("harm",), "reshares=0.1", r"--max-loss: expected an outcome that is measured"),
        (("harm",), "topic:pet=0.1", r"did you mean \"topic:pets\""),
        (("harm",), "activity=2", r"--max-loss: expected NAME=SHARE"),
        (("harm",), "activity", r"--max-loss: expected NAME=SHARE"),
    ],
)
def test_what_is_not_measured_or_never_shown_is_refused(harm, limit, message):
    with pytest.raises(ValueError, match=message):
        found_on(angry_feed(80), limit, harm=harm, trials=10)


def test_no_harm_outcome_at_all_is_refused():
    feed = angry_feed(80)
    activity = [o for o in standard_outcomes(feed) if o.kind == "activity"]
    with pytest.raises(ValueError, match="harm: expected an outcome of exposure to harm, got none"):
        make_measures(feed, activity)


def test_harms_are_weighed_by_their_relative_changes():
    feed = angry_feed(80)
    outcomes = standard_outcomes(feed, attributes=("harm",))
    measures = make_measures(
        feed, outcomes, harm=("harm=3", "angry_share"), limits=[parse_limit("comments=0.1")]
    )
    assert dict(measures.harm) == {"harm": 0.75, "angry_share": 0.25}
    assert measures.statistics == (HARM, "positive_activity", "harm", "angry_share", "comments")
    changes = np.array([0.1, 0.3, -0.2, 0.5])  # harm, angry share, activity, comments
    assert (changes @ measures.mixes)[0] == pytest.approx(0.75 * 0.1 + 0.25 * 0.3)
