"""eval.launch_checks and launch_groups: each check against figures worked out by hand or by brute force."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from eval.clustered import Estimate, relative_change
from eval.exposure import browsing
from eval.launch_checks import (
    Check,
    Scene,
    activity_checks,
    demotion_check,
    exposure_checks,
    harmless_topic_checks,
    judged,
)
from eval.launch_groups import check_columns, group_checks, small_groups
from eval.launch_plan import plan_of
from eval.outcomes import Outcome
from eval.provenance import clusters_of
from eval.rows import examinations
from reranker.effectiveness import Effectiveness
from reranker.engagement import request_sums
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from tests.comparisons import activity, harm, swap_feed


def plan(**changes):
    table = {
        "schema": 1,
        "shown": ["1"],
        "strengths": [1.0],
        "harm": {"any": 0.02},
        "ineffective_per_1000": 10.0,
        "own_ruler_counts": False,
        "allow_not_measured": [],
    }
    return plan_of(table | changes)


def scene(feed, shown=("1",), settings=("weights.angry=0",)) -> Scene:
    rankings = tuple(Reranker(load_policy("fb-2018-h1", chosen)).rank(feed) for chosen in ((), settings))
    seen = examinations(rankings, [browsing(spec) for spec in shown])
    return Scene(rankings, 1.0, seen, clusters_of(feed)[0])


def only(checked):
    assert len(checked.checks) == 1
    return checked.checks[0]


def change(value, error, n=400) -> Estimate:
    half = stats.t.ppf(0.975, n - 1) * error
    return Estimate(value, error, value - half, value + half, 0.95, n, n)


HARM = Check("harm", "thing", 1.0, "top 1", 0.02)
LOSS = Check("activity", "comments", 1.0, "top 1", 0.02)


def test_harm_passes_below_its_margin_and_activity_above():
    assert judged(HARM, (change(-0.5, 0.1),)).state == "pass"
    assert judged(LOSS, (change(-0.5, 0.1),)).state == "fail"
    assert judged(HARM, (change(0.5, 0.1),)).state == "fail"
    assert judged(LOSS, (change(0.5, 0.1),)).state == "pass"


def test_too_little_data_does_not_pass_and_says_how_much_would_do():
    found = judged(HARM, (change(0.0, 0.02),))
    assert found.state == "inconclusive"
    assert not found.holds
    assert found.n_needed is not None
    enough = judged(HARM, (change(0.0, 0.02 * (400 / found.n_needed) ** 0.5, found.n_needed),))
    assert enough.state == "pass"


def test_equal_rises_pass_only_where_they_are_known_to_be_within_the_margin():
    assert judged(HARM, (change(0.015, 0.001),)).state == "pass"
    assert judged(HARM, (change(0.015, 0.01),)).state == "inconclusive"
    assert judged(HARM, (change(0.0, 0.0),)).state == "pass"


def test_both_ends_of_what_is_not_scored_must_be_within_the_margin():
    low, high = change(-0.01, 0.001), change(0.05, 0.001)
    assert judged(HARM, (low, low)).state == "pass"
    assert judged(HARM, (high, high)).state == "fail"
    found = judged(HARM, (high, low))
    assert (found.state, found.n_needed) == ("inconclusive", None)  # more users would not tell
    assert found.worst == high


def test_without_a_figure_only_what_the_plan_lets_go_holds():
    assert not HARM.holds
    assert replace(HARM, allowed=True).holds
    assert not replace(judged(HARM, (change(0.5, 0.1),)), allowed=True).holds


def test_an_exposure_is_the_relative_change_of_what_is_seen():
    rng = np.random.default_rng(1)
    feed = swap_feed(60)
    outcome = harm(feed, rng.uniform(0.4, 0.5, 60), rng.uniform(0.1, 0.5, 60))
    found = only(exposure_checks(scene(feed), [outcome], plan()))
    before, after = outcome.values.reshape(-1, 2).T  # the angry post is shown first, then the calm one
    once = np.ones(60)
    expected = relative_change((before, once), (after, once), np.arange(60))
    assert found.ends[0].value == pytest.approx(expected.value, abs=1e-15)
    assert found.ends[0].standard_error == pytest.approx(expected.standard_error, rel=1e-12)
    assert found.state == "pass"


def test_no_truth_of_what_is_not_scored_is_worse_or_better_than_the_ends():
    # 2 of 100 users, two posts each, of which one has no score under either policy
    rng = np.random.default_rng(2)
    feed = swap_feed(120, user=None)
    values = rng.uniform(0.2, 0.4, (120, 2))
    values[5], values[17, 0], values[40, 1] = np.nan, np.nan, np.nan
    outcome = Outcome("thing", "exposure", values.reshape(-1), "a thing", "share")
    found = only(exposure_checks(scene(feed), [outcome], plan()))
    assert len(found.ends) == 2
    at, margin, against = np.argwhere(np.isnan(values)), 0.02, []
    for truth in product((0.0, 1.0), repeat=len(at)):
        filled = values.copy()
        filled[tuple(at.T)] = truth
        before, after = filled.mean(axis=0)
        against.append((after - (1 + margin) * before, after / before - 1))
    assert max(found.ends, key=lambda end: end.value).value == pytest.approx(max(against)[1])
    assert min(found.ends, key=lambda end: end.value).value == pytest.approx(min(against)[1])
    harmless = np.nan_to_num(values).mean(axis=0)
    assert found.ends[0].value > harmless[1] / harmless[0] - 1  # never taken as zero


def test_too_many_unscored_views_are_refused_unless_nothing_moves():
    feed = swap_feed(40)
    outcome = harm(feed, 0.5, [np.nan, *[0.1] * 39])
    found = only(exposure_checks(scene(feed), [outcome], plan()))
    assert (found.state, found.reason) == (
        "not measured",
        "views without a value: expected at most 2%, got 2.5%",
    )
    same = only(exposure_checks(scene(feed, settings=()), [outcome], plan()))
    assert (same.state, same.ends[0].value, same.ends[0].standard_error) == ("pass", 0.0, 0.0)


def test_harm_from_none_to_some_fails_and_none_at_all_passes():
    feed = swap_feed(40)
    appeared = only(exposure_checks(scene(feed), [harm(feed, 0.0, 0.1)], plan()))
    assert (appeared.state, appeared.reason) == ("fail", "the original shows none and this shows some")
    assert only(exposure_checks(scene(feed), [harm(feed, 0.0, 0.0)], plan())).state == "pass"


def test_harm_is_checked_under_every_browsing_model():
    feed = swap_feed(40)
    checks = exposure_checks(scene(feed, ("1", "2")), [harm(feed, 0.1, 0.5)], plan(shown=["1", "2"])).checks
    assert [check.state for check in checks] == ["fail", "pass"]  # both posts are seen under the second


def test_a_topic_must_not_fall_and_its_harm_may():
    feed = swap_feed(40)
    civic = Outcome("civic", "context", harm(feed, 0.5, 0.3).values, "civic", "share")
    toxic = harm(feed, 0.5, 0.0, "toxicity")
    rules = plan(topics={"civic": 0.1})
    found = exposure_checks(scene(feed), [civic, toxic], rules).checks
    assert [(check.family, check.state) for check in found] == [("topic", "fail"), ("harm", "pass")]
    harmless = only(harmless_topic_checks(scene(feed), [civic, toxic], rules))
    assert harmless.name == "civic without toxicity"
    assert not harmless.holds  # if the two never coincide all of the civic half was harmless
    assert harmless_topic_checks(scene(feed), [civic, toxic], plan()).checks == ()


def test_activity_is_each_guardrail_of_the_margins():
    feed = swap_feed(40)
    found = activity_checks(
        scene(feed),
        [activity(feed, 10.0, 9.0), activity(feed, 5.0, 5.0, "reactions")],
        plan(activity={"comments": 0.01, "time": 0.01}, allow_not_measured=["time"]),
    ).checks
    assert [(check.name, check.state, check.holds) for check in found] == [
        ("comments", "fail", False),
        ("time", "not measured", True),
    ]
    assert found[0].ends[0].value == pytest.approx(-0.1)
    assert found[1].reason == "expected a count of it in the feed, got none"


def effect(n_full, n_ineffective) -> Effectiveness:
    return Effectiveness(1000, n_full, n_full, n_ineffective, 0, None)


def test_ineffective_demotions_have_the_exact_bound_of_scipy():
    found = demotion_check(effect(900, 3), plan(), demotes=True)
    interval = stats.binomtest(3, 900).proportion_ci(0.95, "exact")
    assert (found.ends[0].low, found.ends[0].high) == pytest.approx((interval.low, interval.high))
    assert found.state == "pass"


def test_few_demotions_do_not_pass_for_want_of_power():
    found = demotion_check(effect(100, 0), plan(), demotes=True)
    assert (found.state, found.n_needed) == ("inconclusive", 368)
    assert demotion_check(effect(368, 0), plan(), demotes=True).state == "pass"
    assert demotion_check(effect(367, 0), plan(), demotes=True).state == "inconclusive"
    more = demotion_check(effect(500, 2), plan(), demotes=True)
    assert more.n_needed is not None
    assert stats.beta.ppf(0.975, 0.004 * more.n_needed + 1, 0.996 * more.n_needed) <= 0.01
    assert demotion_check(effect(100, 2), plan(), demotes=True).state == "fail"


def test_a_policy_that_demotes_nothing_has_nothing_ineffective_and_one_without_full_demotions_is_not_judged():
    assert demotion_check(effect(0, 0), plan(), demotes=False).holds
    found = demotion_check(effect(0, 0), plan(), demotes=True)
    assert (found.state, found.holds) == ("not measured", False)
    assert demotion_check(
        effect(0, 0), plan(allow_not_measured=["ineffective_demotions"]), demotes=True
    ).holds


GROUPS = {"columns": ["language"], "margin": 0.2, "least_share": 0.05}


def test_a_group_that_loses_its_views_fails_and_its_gain_is_no_fault():
    feed = swap_feed(40, language=["de", "en"])  # the angry post is German
    made = group_checks(scene(feed, ("log2",)), plan(groups=GROUPS)).checks
    views = 1 / np.log2(3)  # of the second place, against 1 of the first
    expected = {"language de": views**2 - 1, "language en": views**-2 - 1}
    assert {check.name: check.ends[0].value for check in made} == pytest.approx(expected)
    assert {check.name: check.state for check in made} == {"language de": "fail", "language en": "pass"}


def test_alike_groups_pass_exactly_and_small_ones_are_named():
    feed = swap_feed(40, language=["de", "en"])
    made = group_checks(scene(feed, ("log2",), settings=()), plan(groups=GROUPS)).checks
    assert [(check.state, check.ends[0].value) for check in made] == [("pass", 0.0), ("pass", 0.0)]
    few = swap_feed(40, language=["de"] + ["en"] * 79)
    assert small_groups(scene(few, ("log2",)), plan(groups=GROUPS)) == ("language en", "language de")
    found = only(group_checks(scene(few, ("log2",)), plan(groups=GROUPS)))
    assert (found.holds, found.reason) == (
        False,
        "expected a group with enough views to compare with the others, got none",
    )


def test_a_group_that_one_browsing_model_judges_is_not_named_as_not_judged():
    # German is the first post of one of 40 requests: 1 / 40 of the views if one is read, 1 / 65 by log2
    feed = swap_feed(40, language=["de"] + ["en"] * 79)
    rules = plan(groups={**GROUPS, "least_share": 0.02})
    assert small_groups(scene(feed, ("1",)), rules) == ()
    assert small_groups(scene(feed, ("log2",)), rules) == ("language en", "language de")
    assert small_groups(scene(feed, ("log2", "1")), rules) == ()


def test_an_attribute_of_few_values_is_a_group_and_one_of_many_is_refused():
    feed = swap_feed(40, attr_small=[1, 0], attr_size=list(range(80)))
    rules = plan(groups={"columns": ["small"], "margin": 0.2, "least_share": 0.05})
    check_columns(feed, rules)
    made = group_checks(scene(feed, ("log2",)), rules).checks
    assert {check.name: check.state for check in made} == {"small 0": "pass", "small 1": "fail"}
    with pytest.raises(ValueError, match="expected at most 12 values of size, got 80"):
        check_columns(feed, plan(groups={"columns": ["size"]}))


def test_groups_that_the_feed_does_not_hold_are_refused_unless_the_plan_lets_them_go():
    feed = swap_feed(10)
    with pytest.raises(ValueError, match="expected the feed to hold language, got no value of it"):
        check_columns(feed, plan(groups=GROUPS))
    check_columns(feed, plan(groups=GROUPS, allow_not_measured=["language"]))
    with pytest.raises(ValueError, match=r"expected one of language, .*, got 'langage'; did you mean"):
        check_columns(feed, plan(groups={"columns": ["langage"]}))


def test_requests_that_are_summed_are_those_of_the_feed():
    feed = swap_feed(3)
    found = scene(feed)
    first = next(iter(found.seen.values()))[0]
    assert request_sums(first, feed.offsets).tolist() == [1.0, 1.0, 1.0]
