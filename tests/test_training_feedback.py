"""training.feedback: known effects found again, what is not identified, and what is told beside."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reranker.columns import StringColumn
from reranker.presets import load_policy
from training.feedback import fit_feedback
from training.feedback_checks import check_sizes
from training.feedback_evidence import warnings_of, weights_of
from training.feedback_experiment import FeedbackExperiment
from training.feedback_recovery import recover
from training.feedback_synthetic import SyntheticDesign, synthetic_feedback, usual_design
from training.fitted_weights import write_fitted


def simulated(n_authors=6_000, seed=1, **changes):
    design = replace(usual_design("linear", n_authors), **changes)
    return synthetic_feedback(design, np.random.default_rng(seed))


def reordered(experiment, order):
    """The same rows in another order."""
    return FeedbackExperiment(
        author=experiment.author[order],
        arm=experiment.arm[order],
        arm_names=experiment.arm_names,
        boosted=experiment.boosted,
        assigned=experiment.assigned[:, order],
        signals=experiment.signals,
        received=experiment.received[:, order],
        posts=experiment.posts[order],
        before={name: values[order] for name, values in experiment.before.items()},
        places={name: column.take(order) for name, column in experiment.places.items()},
    )


def terms_of(experiment, model="linear"):
    return {term.name: term for term in weights_of(fit_feedback(experiment), model=model).terms}


@pytest.mark.parametrize(("model", "n_authors"), [("linear", 5_000), ("poisson", 9_000)])
def test_known_weights_are_found_again_and_their_intervals_cover(model, n_authors):
    found = recover(usual_design(model, n_authors), runs=20, seed=100)
    assert [one.signal for one in found] == ["comment", "reshare"]
    for one in found:
        assert one.coverage >= 0.8  # of 20 runs: fewer happen once in 400 where the rate is 95%
        assert abs(one.bias) < 4 * one.bias_error < 0.5
        assert one.plain < 0.85 * one.truth  # confounding draws the ratio towards 1


def test_a_plain_regression_is_sure_of_the_wrong_weight():
    fit = fit_feedback(simulated(20_000))
    plain = {one.signal: one for one in fit.plain}
    assert plain["comment"].weight_interval[1] < 9 < 10 < terms_of(simulated(20_000))["comment"].high


def test_without_confounding_a_plain_regression_agrees():
    fit = fit_feedback(simulated(20_000, confounding=0.0))
    plain = {one.signal: one for one in fit.plain}
    low, high = plain["comment"].weight_interval
    assert low < 10 < high


def test_the_like_is_the_unit_and_what_no_arm_boosted_has_no_weight():
    terms = terms_of(simulated())
    assert (terms["like"].value, terms["like"].low, terms["like"].high) == (1.0, 1.0, 1.0)
    assert terms["love"].value is None
    assert terms["love"].warning == "not identified: no arm boosted it"


def test_the_effect_of_an_arm_is_its_difference_of_means_where_nothing_is_adjusted_for():
    experiment = replace(simulated(), before={}, places={})
    arms = fit_feedback(experiment).arms
    control, likes = (experiment.posts[experiment.arm == arm] for arm in (0, 1))
    assert arms[0].effect is None
    assert arms[1].arm == "like:20"
    assert arms[1].effect == pytest.approx(likes.mean() - control.mean())
    half = 1.96 * math.sqrt(likes.var() / len(likes) + control.var() / len(control))
    assert arms[1].high - arms[1].effect == pytest.approx(half, rel=0.02)


def test_counts_from_before_narrow_the_interval():
    experiment = simulated(20_000)
    narrow, wide = terms_of(experiment)["comment"], terms_of(replace(experiment, before={}))["comment"]
    assert narrow.high - narrow.low < 0.95 * (wide.high - wide.low)


def test_a_small_experiment_identifies_nothing_and_nothing_is_written(tmp_path):
    found = weights_of(fit_feedback(simulated(200)))
    assert found.terms[1].value is None
    assert found.terms[1].warning.startswith("not identified: the interval of the weight has no end")
    with pytest.raises(ValueError, match="weights: expected at least one that the data identify, got none"):
        write_fitted(found, tmp_path / "fitted.toml", name="fitted", date="2026-11-22")
    assert list(tmp_path.iterdir()) == []


def test_likes_that_lower_posts_are_no_unit():
    effects = {"like": -0.02, "love": 0.0, "comment": 0.2, "reshare": 0.1}
    terms = terms_of(simulated(20_000, effects=effects))
    assert terms["comment"].value is None
    assert "likes were found to lower posts" in terms["comment"].warning


def test_a_signal_that_lowers_posts_gets_a_weight_below_0():
    design = {
        "effects": {"like": 0.04, "comment": 0.2, "angry": -0.05},
        "usual": {"like": 15.0, "comment": 3.0, "angry": 1.0},
        "doses": {"like": 20.0, "comment": 4.0, "angry": 5.0},
    }
    angry = terms_of(simulated(20_000, **design))["angry"]
    assert angry.low < -0.05 / 0.04 < angry.high < 0


def test_feedback_that_hardly_arrives_is_called_a_weak_instrument():
    experiment = simulated(uptake=0.12)
    assert "weak instrument of " in terms_of(experiment)["comment"].warning
    poisson = terms_of(experiment, "poisson")["comment"]
    assert poisson.value is None
    assert "intervals of the Poisson model do not hold" in poisson.warning


def test_neither_the_order_of_rows_nor_the_units_of_doses_change_a_weight():
    experiment = simulated()
    scaled = replace(experiment, assigned=experiment.assigned * [[3.0], [1.0], [0.1]])
    order = np.random.default_rng(2).permutation(experiment.n)
    expected = terms_of(experiment)["comment"]
    for other in (scaled, reordered(experiment, order)):
        found = terms_of(other)["comment"]
        assert (found.value, found.low, found.high) == pytest.approx(
            (expected.value, expected.low, expected.high), rel=1e-4
        )


def test_rows_repeated_for_each_author_add_no_certainty():
    experiment = simulated()
    twice = reordered(experiment, np.tile(np.arange(experiment.n), 2))
    once, again = terms_of(experiment)["comment"], terms_of(twice)["comment"]
    assert (again.low, again.high) == pytest.approx((once.low, once.high), rel=1e-2)


def test_doses_that_do_less_and_less_are_told():
    experiment = simulated(20_000, doses={"like": 40.0, "comment": 4.0, "reshare": 5.0})
    likes = experiment.arm == 1
    many = likes & (np.random.default_rng(3).random(experiment.n) < 0.5)
    assigned, received, posts = (
        a.copy() for a in (experiment.assigned, experiment.received, experiment.posts)
    )
    assigned[0, many] *= 4
    received[0, many] += 96
    arm = np.where(many, 4, experiment.arm)
    shares = {"control": 2, "like:40": 1, "comment:4": 2, "reshare:5": 2, "like:160": 1}
    parts = {"arm": arm, "arm_names": (*experiment.arm_names, "like:160"), "assigned": assigned}
    tired = replace(experiment, **parts, received=received, posts=posts)
    fit = fit_feedback(tired, shares=shares)  # the 120 likes more brought no post
    assert fit.linearity_p < 0.01
    assert "the arms do not agree on one effect per unit" in " ".join(warnings_of(fit))
    steady = replace(tired, posts=posts + np.random.default_rng(4).poisson(0.02 * 96 * many))
    assert fit_feedback(steady, shares=shares).linearity_p > 0.01


def test_arms_of_unplanned_sizes_are_refused_and_planned_ones_are_not():
    experiment = simulated()
    kept = (experiment.arm != 2) | (np.random.default_rng(5).random(experiment.n) < 0.8)
    lossy = reordered(experiment, np.flatnonzero(kept))
    with pytest.raises(
        ValueError, match=r"arm: expected arms of the planned sizes, got authors .*, comment:4 1,196 of 1,424"
    ):
        fit_feedback(lossy)
    shares = {"control": 1, "like:20": 1, "comment:4": 0.8, "reshare:5": 1}
    counts = np.bincount(lossy.arm)
    oracle = stats.chisquare(counts, counts.sum() * np.array([1, 1, 0.8, 1]) / 3.8)
    found = check_sizes(lossy, shares)
    assert (found.statistic, found.p) == pytest.approx((oracle.statistic, oracle.pvalue))
    assert fit_feedback(lossy, shares=shares).sizes.counted == "authors"
    with pytest.raises(ValueError, match="shares: expected one above 0 for each of control, like:20"):
        fit_feedback(experiment, shares={"control": 0.5})


def test_where_posts_were_randomised_rows_are_counted():
    experiment = simulated(3_000, n_periods=2)
    assert experiment.by_author
    order = np.random.default_rng(6).permutation(experiment.n)
    crossed = replace(experiment, arm=experiment.arm[order], assigned=experiment.assigned[:, order])
    assert check_sizes(crossed, None).counted == "rows"


def test_feedback_that_is_the_dose_itself_gives_the_ratio_of_the_arms():
    experiment = simulated(20_000, doses={"like": 60.0, "comment": 4.0, "reshare": 5.0})
    received = experiment.received.copy()
    received[[0, 2, 3]] = experiment.assigned  # the like, the comment and the reshare; the love is the second
    fit = fit_feedback(replace(experiment, received=received))
    likes, comments, _ = (arm.effect for arm in fit.arms[1:])
    (comment,) = (one for one in fit.linear if one.signal == "comment")
    assert comment.weight == pytest.approx((comments / 4) / (likes / 60), rel=1e-6)
    assert comment.weight_interval[0] < comment.weight < comment.weight_interval[1] < math.inf


def test_a_count_from_before_that_one_arm_lacks_is_refused():
    experiment = simulated()
    before = {"posts": np.where(experiment.arm == 2, np.nan, experiment.before["posts"])}
    with pytest.raises(
        ValueError, match="before_posts: expected some values in each arm, got none in comment:4"
    ):
        fit_feedback(replace(experiment, before=before))


def test_arms_that_differed_before_are_warned_of():
    experiment = simulated()
    assert warnings_of(fit_feedback(experiment)) == []
    before = dict(experiment.before)
    before["posts"] = before["posts"] + (experiment.arm == 3)
    (warning,) = warnings_of(fit_feedback(replace(experiment, before=before)))
    assert warning.startswith("before_posts differed between the arms before the experiment")


def test_counts_from_before_that_are_not_known_are_not_zero():
    experiment = simulated(20_000)
    before = dict(experiment.before)
    before["posts"] = np.where(np.arange(experiment.n) % 10 == 0, np.nan, before["posts"])
    found, whole = terms_of(replace(experiment, before=before))["comment"], terms_of(experiment)["comment"]
    assert found.value == pytest.approx(whole.value, rel=0.1)
    zeros = {**before, "posts": np.nan_to_num(before["posts"])}
    assert terms_of(replace(experiment, before=zeros))["comment"].value != found.value


def test_a_country_that_is_not_known_is_one_of_its_own():
    experiment = simulated()
    country = StringColumn(np.where(np.arange(6_000) % 7, 0, -1).astype(np.int32), ("AA",))
    assert terms_of(replace(experiment, places={"country": country}))["comment"].value is not None


def test_signals_boosted_always_together_are_named():
    experiment = simulated()
    assigned = experiment.assigned.copy()
    assigned[2] = 2 * assigned[1]
    with pytest.raises(ValueError, match="expected arms that tell comment and reshare apart"):
        fit_feedback(replace(experiment, assigned=assigned))


def test_the_evidence_is_json_that_does_not_change_and_the_overlay_loads(tmp_path):
    experiment = simulated(20_000)
    paths = []
    for name in ("first", "second"):
        found = weights_of(fit_feedback(experiment))
        paths.append(write_fitted(found, tmp_path / f"{name}.toml", name="fitted", date="2026-11-22"))
    (overlay, evidence), (_, again) = paths
    assert evidence.read_bytes() == again.read_bytes()
    weights = load_policy(f"harm-aware+{overlay}").weights
    assert weights["like"] == 1.0
    assert (
        weights["comment"]
        == float(f"{found.terms[1].value:.4g}")
        != load_policy("harm-aware").weights["comment"]
    )
    assert weights["love"] == load_policy("harm-aware").weights["love"]
    facts = json.loads(evidence.read_text())["facts"]
    assert facts["plain_regression"]["warning"].startswith("confounded")
    assert facts["data_sha256"] == experiment.digest() != simulated(20_000, seed=2).digest()
    assert facts["first_stage"][0]["added"] == pytest.approx(0.8, rel=0.05)


def test_no_run_that_identifies_a_weight_is_told():
    with pytest.raises(ValueError, match="comment: expected a run that identifies it, got none of 2"):
        recover(SyntheticDesign(n_authors=100), runs=2, seed=1)
