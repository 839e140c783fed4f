"""The A/B readout: published digits, scipy and statsmodels, numerical derivatives, coverage by simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest

from eval.arms import (
    Covariate,
    adjusted,
    arm_means,
    difference,
    p_of_no_difference,
    relative_difference,
)
from eval.clustered import clustered_mean
from eval.decision import decide
from eval.effects import winsorised
from eval.experiment import Metric, QuantileMetric, Users, read_out, totals_by_user
from eval.placebo import placebo_check
from eval.randomised_clusters import cluster_trial
from eval.sample_ratio import crossed, sample_ratio, sample_ratios
from eval.trigger import diluted_means
from reranker.columns import StringColumn


def halves(n):
    """Every other user is treated."""
    return np.arange(n) % 2 == 1


def exactly(mean, sd, n):
    """n values with exactly this mean and sample standard deviation."""
    return mean + sd * math.sqrt((n - 1) / n) * np.where(np.arange(n) % 2, 1.0, -1.0)


def jackknife_error(treated, statistic):
    """The error from derivatives by the weight of each user, centred within the arms."""
    n, step = len(treated), 1e-6
    slope = np.array(
        [
            (statistic(np.ones(n) + step * e) - statistic(np.ones(n) - step * e)) / (2 * step)
            for e in np.eye(n)
        ]
    )
    parts = [slope[treated == side] for side in (False, True)]
    return math.sqrt(sum(len(p) / (len(p) - 1) * ((p - p.mean()) ** 2).sum() for p in parts))


# --- the two arms


def test_the_published_readout_is_found():
    # D5
    values = np.concatenate([exactly(10.00, 6, 200_000), exactly(9.98, 6, 200_000)])
    means = arm_means(np.arange(400_000) >= 200_000, values)
    found = relative_difference(means)
    assert found.value == pytest.approx(-0.002, abs=1e-12)
    assert found.standard_error == pytest.approx(0.00189547018, abs=1e-11)
    assert (found.low, found.high) == pytest.approx((-0.0057150645, 0.0017150645), abs=1e-10)
    assert p_of_no_difference(found) == pytest.approx(0.29, abs=0.005)
    verdict = decide(found, 0.01)
    assert verdict.decision == "EQUIVALENT"
    assert verdict.test.p == pytest.approx(1.218e-5, rel=1e-3)


def test_a_difference_of_means_is_the_test_of_welch():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(1)
    treated = rng.random(60) < 0.3
    values = rng.normal(0, np.where(treated, 3, 1))
    theirs = ttest_ind(values[treated], values[~treated], equal_var=False)
    ours = difference(arm_means(treated, values))
    assert p_of_no_difference(ours) == pytest.approx(theirs.pvalue, abs=1e-12)
    assert ours.degrees_of_freedom == pytest.approx(theirs.df, abs=1e-9)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)), abs=1e-12)


def test_a_ratio_metric_has_the_error_of_its_derivative():
    rng = np.random.default_rng(2)
    treated, views = halves(40), rng.poisson(9, 40).astype(float)
    clicks = rng.binomial(views.astype(int), 0.3).astype(float)
    means = arm_means(treated, clicks, views)

    def change(weight):
        parts = [(weight * clicks)[s].sum() / (weight * views)[s].sum() for s in (~treated, treated)]
        return parts[1] / parts[0] - 1

    assert relative_difference(means).value == pytest.approx(change(np.ones(40)), abs=1e-14)
    assert relative_difference(means).standard_error == pytest.approx(
        jackknife_error(treated, change), rel=1e-6
    )


def test_a_ratio_metric_is_of_sums_over_users_and_not_the_mean_of_their_ratios():
    means = arm_means(np.array([0, 0, 1, 1], bool), np.array([1.0, 9, 1, 9]), np.array([100.0, 10, 100, 10]))
    assert means.values == pytest.approx((10 / 110, 10 / 110))


def test_a_zero_control_has_no_relative_effect_and_is_not_a_perfect_null():
    found = read_out(users(8), [Metric("reports", np.where(np.arange(8) % 2, np.arange(8.0), 0.0))]).readouts[
        0
    ]
    assert found.raw is not None
    assert found.raw.relative is None
    assert found.raw.difference.standard_error > 0
    with pytest.raises(ValueError, match="baseline: expected a value other than 0"):
        relative_difference(arm_means(halves(8), np.where(np.arange(8) % 2, np.arange(8.0), 0.0)))


def test_bad_totals_are_refused():
    with pytest.raises(ValueError, match="numerator: expected finite numbers, got nan"):
        arm_means(halves(4), np.array([1.0, np.nan, 2, 3]))
    with pytest.raises(ValueError, match="arm 1: expected at least 2 users"):
        arm_means(np.array([0, 0, 1], bool), np.ones(3))
    with pytest.raises(ValueError, match="denominator: expected at least 0"):
        arm_means(halves(4), np.ones(4), np.array([1.0, 1, -1, 1]))


# --- adjustment by what is known from before


def before(values, *, until=-1.0, name="past"):
    """A covariate whose last fact is at one time."""
    return Covariate(name, values, np.full(len(values), until))


def correlated(rng, n, *, lift=0.0):
    """Treated, past and present values, the present half made of the past."""
    treated = rng.permutation(n) < n // 3
    past = rng.gamma(2, 2, n)
    return treated, past, 1 + 0.8 * past + rng.normal(0, 1, n) + lift * treated


def test_the_pooled_slope_gives_the_estimate_of_the_analysis_of_covariance():
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(3)
    treated, past, present = correlated(rng, 90)
    more = rng.normal(size=90)
    found = adjusted(arm_means(treated, present), (before(past), before(more)), np.zeros(90))
    fit = OLS(present, np.column_stack([np.ones(90), treated, past, more])).fit()
    assert difference(found).value == pytest.approx(fit.params[1], abs=1e-10)


def test_slopes_by_arm_give_the_estimate_of_the_regression_with_interactions():
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(4)
    treated, past, present = correlated(rng, 90)
    present = present + 0.5 * treated * past
    found = adjusted(arm_means(treated, present), (before(past),), np.zeros(90), slopes="by arm")
    centred = past - past.mean()
    fit = OLS(present, np.column_stack([np.ones(90), treated, centred, treated * centred])).fit()
    assert difference(found).value == pytest.approx(fit.params[1], abs=1e-10)
    assert found.values == pytest.approx((fit.params[0], fit.params[0] + fit.params[1]), abs=1e-10)


def test_the_adjusted_relative_interval_covers_and_is_narrower():
    # 500 experiments; the truth: (1 + .8 * 4 + .42) / 4.2 = 1.1
    rng = np.random.default_rng(5)
    covered, widths = 0, []
    for _ in range(500):
        treated, past, present = correlated(rng, 120, lift=0.42)
        raw = arm_means(treated, present)
        found = relative_difference(adjusted(raw, (before(past),), np.zeros(120)))
        plain = relative_difference(raw)
        covered += found.low <= 0.1 <= found.high
        widths.append((found.high - found.low) / (plain.high - plain.low))
    assert covered / 500 == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 500))
    assert np.mean(widths) < 0.6


def test_the_adjusted_relative_error_carries_the_common_mean_of_the_covariate():
    # The arms share the mean of the covariate. With the covariance left out the error would be another one.
    rng = np.random.default_rng(6)
    treated, past, present = correlated(rng, 50_000, lift=2.0)
    found = adjusted(arm_means(treated, present), (before(past),), np.zeros(50_000))
    rho = found.values[1] / found.values[0]
    sizes = np.array([(~treated).sum(), treated.sum()])
    # Y = m_a + .8 (X - EX) + noise, sd 1. Adjusted mean: noise of the arm + .8 (mean of all X), var X = 8.
    noise, common = 1 / sizes, 0.64 * 8 / 50_000
    variance = (noise[1] + common) - 2 * rho * common + rho**2 * (noise[0] + common)
    expected = math.sqrt(variance) / found.values[0]
    assert relative_difference(found).standard_error == pytest.approx(expected, rel=0.02)


def test_adjustment_also_narrows_a_ratio_metric():
    rng = np.random.default_rng(7)
    n = 4_000
    treated, taste = halves(n), rng.beta(2, 5, n)
    views = rng.poisson(30, n) + 1.0
    clicks = rng.binomial(views.astype(int), taste).astype(float)
    past = rng.binomial(30, taste) / 30
    raw = arm_means(treated, clicks, views)
    found = adjusted(raw, (before(past),), np.zeros(n))
    assert difference(found).standard_error < 0.65 * difference(raw).standard_error


def test_users_without_a_past_are_kept():
    rng = np.random.default_rng(8)
    treated, past, present = correlated(rng, 400)
    new = np.arange(400) % 4 == 0
    known = np.where(new, np.nan, past)
    found = adjusted(arm_means(treated, present), (before(known),), np.zeros(400))
    filled = (before(np.where(new, past[~new].mean(), past)), before(new.astype(float)))
    assert difference(found) == difference(adjusted(arm_means(treated, present), filled, np.zeros(400)))
    assert difference(found).n == 400


def test_a_covariate_from_after_the_assignment_is_refused():
    treated, past, present = correlated(np.random.default_rng(9), 60)
    for until in (0.0, 3.0, math.nan):
        with pytest.raises(ValueError, match="covariate past: expected facts from before the assignment"):
            adjusted(arm_means(treated, present), (before(past, until=until),), np.zeros(60))
    metric = Metric("comments", present, covariates=(before(past, until=3.0),))
    with pytest.raises(ValueError, match="covariate past: expected facts from before the assignment"):
        read_out(users(60, treated=treated), [metric])


def test_a_covariate_that_the_treatment_moved_is_found_by_its_imbalance():
    # the same metric in the first week of the treatment, with a false date: adjusting would hide the effect
    treated, past, present = correlated(np.random.default_rng(10), 2_000, lift=3.0)
    mediator = before(present + 0.1 * past, name="week 1")
    with pytest.raises(ValueError, match="covariate week 1: expected arms that were alike before"):
        adjusted(arm_means(treated, present), (mediator,), np.zeros(2_000))
    found = read_out(
        users(2_000, treated=treated, shares=(2, 1)), [Metric("m", present, covariates=(mediator,))]
    )
    assert found.readouts[0].adjusted is None
    assert found.readouts[0].reason == "not adjusted: the arms differed before in week 1"


# --- sizes of the arms


def test_the_published_sample_ratios_are_found():
    # D6
    assert sample_ratio((50_312, 49_688), (1, 1)) == pytest.approx((3.89376, 0.0484658), abs=1e-7)
    statistic, p = sample_ratio((821_588, 815_482), (0.5, 0.5))
    assert statistic == pytest.approx(22.77437, abs=5e-6)
    assert p == pytest.approx(1.82e-6, rel=2e-3)


def users(n, *, treated=None, shares=(0.5, 0.5), **more):
    """Users of two arms, assigned at 0."""
    arm = (halves(n) if treated is None else treated).astype(np.int64)
    return Users(arm, ("control", "angry 0"), shares, np.zeros(n), **more)


def local_loss():
    """500 000 users per arm; of 10 000 in India on Android 6 % of the treated are lost."""
    country = np.repeat(["in", "in", "us", "us"], [10_000, 9_400, 490_000, 490_000])
    device = np.repeat(["android", "android", "ios", "ios"], [10_000, 9_400, 490_000, 490_000])
    treated = np.repeat([False, True, False, True], [10_000, 9_400, 490_000, 490_000])
    cuts = {"country": StringColumn.from_values(country), "device": StringColumn.from_values(device)}
    return treated, cuts | {"country x device": crossed(*cuts.values())}


def test_a_local_loss_is_invisible_overall_and_blocks_its_cut():
    treated, cuts = local_loss()
    tests = {(t.cut, t.segment): t for t in sample_ratios(treated.astype(int), (1, 1), cuts)}
    # overall (600^2) / 999400 = .3602, p = .548; India x Android 600^2 / 19400 = 18.557
    assert tests["all", "all"].p == pytest.approx(0.548, abs=1e-3)
    assert not tests["all", "all"].blocked
    local = tests["country x device", "in x android"]
    assert local.statistic == pytest.approx(18.5567, abs=1e-4)
    # chi-square with 1 degree of freedom: p = erfc(sqrt(x / 2)); Holm over the two segments
    assert local.p == pytest.approx(math.erfc(math.sqrt(360_000 / 19_400 / 2)), rel=1e-9)
    assert local.adjusted_p == pytest.approx(2 * local.p, rel=1e-12)
    assert local.blocked
    assert not tests["country x device", "us x ios"].blocked


def test_a_blocked_cut_has_no_effect_and_a_blocked_experiment_none_at_all():
    treated, cuts = local_loss()
    found = read_out(
        users(len(treated), treated=treated, cuts={"country": cuts["country"]}),
        [Metric("time", np.random.default_rng(11).gamma(2, 5, len(treated)))],
    )
    by_segment = {r.segment: r for r in found.readouts}
    assert (by_segment["in"].status, by_segment["in"].raw) == ("REFUSED", None)
    assert "(10000, 9400)" in by_segment["in"].reason
    assert by_segment["us"].status == by_segment["all"].status == "IDENTIFIED"
    whole = read_out(users(3_000, treated=np.arange(3_000) < 1_200), [Metric("time", np.ones(3_000))])
    assert [r.status for r in whole.readouts] == ["REFUSED"]


def test_more_triggered_users_in_one_arm_block_the_triggered_readouts_only():
    n = 20_000
    triggered = (np.arange(n) % 4 == 0) | (halves(n) & (np.arange(n) % 3 == 0))
    found = read_out(users(n, triggered=triggered), [Metric("time", np.arange(float(n)) % 97)])
    assert {r.population: r.status for r in found.readouts} == {
        "everyone": "IDENTIFIED",
        "triggered": "REFUSED",
        "diluted": "REFUSED",
    }


def test_an_experiment_with_right_sizes_is_blocked_at_most_at_the_stated_rate():
    rng = np.random.default_rng(12)
    country = StringColumn(rng.integers(0, 10, 5_000).astype(np.int32), tuple("abcdefghij"))
    blocked = 0
    for _ in range(300):
        tests = sample_ratios(rng.integers(0, 2, 5_000), (1, 1), {"country": country})
        blocked += any(t.blocked for t in tests)
    assert blocked / 300 <= 0.0105 + 4 * math.sqrt(0.0105 / 300)


def test_a_segment_too_small_to_test_says_so_and_null_is_a_segment():
    column = StringColumn.from_values(["a"] * 6 + [None] * 20)
    tests = {t.segment: t for t in sample_ratios(np.arange(26) % 2, (1, 1), {"country": column})}
    assert (tests["a"].p, tests["a"].counts) == (None, (3, 3))
    assert tests["(unknown)"].counts == (10, 10)


def test_wrong_shares_are_refused():
    with pytest.raises(ValueError, match="shares: expected one above 0"):
        sample_ratio((5, 5), (1.0, 0.0))
    with pytest.raises(ValueError, match="counts: expected at least 1 user"):
        sample_ratio((0, 0), (1, 1))
    with pytest.raises(ValueError, match="shares: expected one for each"):
        users(4, shares=(1.0,))


# --- the whole readout


def test_days_are_summed_to_users_before_anything_else():
    rows = totals_by_user(np.array([1.0, 2, 4]), np.array([2, 0, 2]), 4)
    assert rows.tolist() == [2, 0, 5, 0]
    with pytest.raises(ValueError, match="values: expected finite numbers"):
        totals_by_user(np.array([math.nan]), np.array([0]), 1)


def test_the_largest_users_are_capped_on_both_sides_of_a_ratio_over_the_same_users():
    rng = np.random.default_rng(13)
    views = rng.poisson(20, 2_000).astype(float)
    views[:1_000] = 0  # users without views set no cap
    clicks = rng.binomial(views.astype(int), 0.2).astype(float)
    views[1_500], clicks[1_500] = 40_000, 8_000  # one machine, at the same rate
    above, below = winsorised(clicks, views)
    assert below is not None
    active = slice(1_000, None)
    assert above.max() == np.quantile(clicks[active], 0.999)
    assert below.max() == np.quantile(views[active], 0.999)
    # one side only would take the ratio far off; both keep it
    assert above.sum() / below.sum() == pytest.approx(0.2, abs=0.01)
    assert above.sum() / views.sum() < 0.12


def test_both_the_capped_and_the_raw_effect_are_reported():
    rng = np.random.default_rng(14)
    time = rng.gamma(2, 5, 4_000)
    time[7] = 1e5
    found = read_out(users(4_000), [Metric("time", time), Metric("same", np.ones(4_000))]).readouts
    raw, capped = found[0].raw, found[0].winsorised
    assert raw is not None
    assert capped is not None
    assert capped.difference.standard_error < 0.1 * raw.difference.standard_error
    assert found[1].winsorised is None


def test_each_arm_is_compared_with_the_control_in_each_segment():
    n = 900
    arm = np.arange(n) % 3
    country = StringColumn.from_values(["in" if i < 300 else "us" for i in range(n)])
    values = 1.0 + arm + (np.arange(n) < 300) * (arm == 2) * 10 + np.arange(n) % 7
    three = Users(arm, ("control", "half", "zero"), (1, 1, 1), np.zeros(n), {"country": country})
    found = {(r.arm, r.segment): r for r in read_out(three, [Metric("time", values)]).readouts}
    assert set(found) == {(a, s) for a in ("half", "zero") for s in ("all", "in", "us")}
    inside = (arm == 2) & (np.arange(n) < 300)
    assert found["zero", "in"].raw.treatment == pytest.approx(values[inside].mean())
    assert found["half", "us"].n_treatment == 200


def test_a_segment_with_one_user_in_an_arm_is_refused():
    country = StringColumn.from_values(["in"] * 3 + ["us"] * 37)
    found = read_out(users(40, cuts={"country": country}), [Metric("time", np.arange(40.0))])
    refused = next(r for r in found.readouts if r.segment == "in")
    assert (refused.status, refused.raw) == ("REFUSED", None)
    assert refused.reason == "an arm has 1 users to measure, at least 2 are needed"


# --- triggering


def triggering(rng, n, *, lift):
    """A tenth meets the change, which lifts them; the rest is noisy."""
    treated, triggered = halves(n), rng.permutation(n) < n // 10
    views = rng.poisson(20, n) + 1.0
    clicks = rng.normal(0.3 * views, 2) + lift * views * (treated & triggered)
    return treated, triggered, clicks, views


def test_dilution_of_a_mean_is_the_triggered_effect_times_the_share_that_triggers():
    treated, triggered, clicks, _ = triggering(np.random.default_rng(15), 2_000, lift=0.1)
    alone = difference(arm_means(treated[triggered], clicks[triggered]))
    found = difference(diluted_means(treated, triggered, clicks))
    assert found.value == pytest.approx(alone.value * triggered.mean(), abs=1e-12)


def test_the_diluted_error_is_that_of_its_derivative():
    rng = np.random.default_rng(16)
    treated, triggered, clicks, views = triggering(rng, 60, lift=0.1)
    triggered = rng.permutation(60) < 24

    def change(weight):
        share = weight[triggered].sum() / weight.sum()
        ratios = []
        for side in (~treated, treated):
            part = triggered & side
            mixed = [
                share * (weight * c)[part].sum() / weight[part].sum()
                + (1 - share) * (weight * c)[~triggered].sum() / weight[~triggered].sum()
                for c in (clicks, views)
            ]
            ratios.append(mixed[0] / mixed[1])
        return ratios[1] / ratios[0] - 1

    found = relative_difference(diluted_means(treated, triggered, clicks, views))
    assert found.value == pytest.approx(change(np.ones(60)), abs=1e-14)
    assert found.standard_error == pytest.approx(jackknife_error(treated, change), rel=1e-5)


def test_the_diluted_interval_covers_the_effect_on_everyone_and_is_narrower_than_the_plain_one():
    # truth: clicks per view of all .3, of the treated .3 + .1 * .1: +3.3 %
    rng = np.random.default_rng(17)
    covered, widths = 0, []
    for _ in range(400):
        treated, triggered, clicks, views = triggering(rng, 1_000, lift=0.1)
        found = relative_difference(diluted_means(treated, triggered, clicks, views))
        plain = relative_difference(arm_means(treated, clicks, views))
        covered += found.low <= 0.1 * 0.1 / 0.3 <= found.high
        widths.append((found.high - found.low) / (plain.high - plain.low))
    assert covered / 400 == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 400))
    assert np.mean(widths) < 0.6


def test_an_effect_on_users_who_never_met_the_change_refuses_the_dilution():
    treated, triggered, clicks, views = triggering(np.random.default_rng(25), 4_000, lift=0.1)
    everyone = users(4_000, treated=treated, triggered=triggered)
    found = read_out(everyone, [Metric("fine", clicks, views), Metric("leaks", clicks + treated, views)])
    diluted = {r.metric: r for r in found.readouts if r.population == "diluted"}
    assert diluted["fine"].status == "IDENTIFIED"
    assert diluted["leaks"].status == "REFUSED"
    assert diluted["leaks"].reason.startswith("users who never met the change differ between the arms")


def test_when_everyone_triggers_dilution_changes_nothing():
    treated, _, clicks, views = triggering(np.random.default_rng(18), 200, lift=0.1)
    everyone = np.ones(200, bool)
    found, plain = diluted_means(treated, everyone, clicks, views), arm_means(treated, clicks, views)
    assert found.values == pytest.approx(plain.values, abs=1e-15)
    assert difference(found).standard_error == pytest.approx(difference(plain).standard_error, rel=1e-12)


# --- arms of whole countries


def countries(rng, n_users=40):
    """12 countries of one size; users have variance 1, countries 12 / (40 - 13 * 5 / 6).

    Then the variance of an arm's mean is 13 times what the users of six countries make it look.
    """
    country = np.repeat(np.arange(12), n_users)
    level = math.sqrt(12 / (n_users - 13 * 5 / 6)) * rng.standard_normal(12)
    return country, 10 + level[country] + rng.standard_normal(len(country))


def test_with_twelve_countries_users_reject_a_true_null_most_of_the_time_and_t10_does_not():
    # by users 2 Phi(-1.96 / sqrt(13)) = .587; cluster z 2 P(t10 > 1.96) = .078; t(10) .05. 1500 experiments.
    rng = np.random.default_rng(19)
    by_user = by_z = by_t = 0
    for _ in range(1_500):
        country, values = countries(rng)
        treated = np.isin(country, rng.permutation(12)[:6])
        by_user += p_of_no_difference(difference(arm_means(treated, values))) < 0.05
        totals = values.reshape(12, -1).mean(axis=1)
        found = difference(arm_means(treated.reshape(12, -1)[:, 0], totals))
        found = replace(found, df=10.0)
        by_t += p_of_no_difference(found) < 0.05
        by_z += p_of_no_difference(replace(found, df=math.inf)) < 0.05

    def near(rate):
        return pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / 1_500))

    assert by_user / 1_500 == near(0.587)
    assert by_z / 1_500 == near(0.078)
    assert by_t / 1_500 == near(0.05)


def test_countries_of_one_size_have_the_t_test_of_their_means():
    from scipy.stats import ttest_ind

    country, values = countries(np.random.default_rng(20))
    treated = country < 5
    means = values.reshape(12, -1).mean(axis=1)
    found = cluster_trial(treated, values, np.ones(len(values)), country, seed=0)
    theirs = ttest_ind(means[:5], means[5:])
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert found.difference.degrees_of_freedom == 10
    low, high = theirs.confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=1e-12)


def test_the_permutation_test_is_that_of_scipy():
    from scipy.stats import permutation_test, ttest_ind

    country, values = countries(np.random.default_rng(21))
    values = values + 0.5 * (country < 5)
    means = values.reshape(12, -1).mean(axis=1)
    found = cluster_trial(country < 5, values, np.ones(len(values)), country, seed=0)
    theirs = permutation_test(
        (means[:5], means[5:]),
        lambda a, b, axis: np.abs(ttest_ind(a, b, axis=axis).statistic),
        permutation_type="independent",
        n_resamples=np.inf,
        vectorized=True,
        alternative="greater",
    )
    assert (found.n_assignments, found.exact) == (math.comb(12, 5), True)
    assert found.p_randomisation == pytest.approx(theirs.pvalue, abs=1e-12)


def test_many_clusters_are_permuted_by_drawing_and_never_give_zero():
    rng = np.random.default_rng(22)
    community = np.repeat(np.arange(40), 5)
    values = np.where(community < 20, 5.0, 0.0) + rng.random(200)
    found = cluster_trial(community < 20, values, np.ones(200), community, seed=1)
    assert not found.exact
    assert found.p_randomisation == pytest.approx(1 / found.n_assignments)
    again = cluster_trial(community < 20, values, np.ones(200), community, seed=1)
    assert again == found


def test_a_ratio_over_countries_is_of_sums():
    country = np.array([0, 1, 2, 3])
    above, below = np.array([1.0, 9, 5, 5]), np.array([100.0, 10, 50, 50])
    found = cluster_trial(country >= 2, above, below, country, seed=0)
    assert (found.control, found.treatment) == pytest.approx((10 / 110, 0.1))


def test_a_cluster_trial_without_a_design_is_refused():
    ones, four = np.ones(8), np.repeat(np.arange(4), 2)
    with pytest.raises(ValueError, match="expected one arm per cluster"):
        cluster_trial(halves(8), ones, ones, four, seed=0)
    with pytest.raises(ValueError, match="at least 2 per arm, got 3 and 1"):
        cluster_trial(four == 0, ones, ones, four, seed=0)


# --- A/A


def test_a_good_analysis_passes_and_one_by_row_fails_the_placebo_check():
    rng = np.random.default_rng(23)
    user = np.repeat(np.arange(80), 6)
    values = rng.standard_normal(80)[user] + rng.standard_normal(480)

    def by_row(treated):
        return p_of_no_difference(difference(arm_means(treated, values)))

    def by_user(treated):
        totals = np.bincount(user, weights=values)
        return p_of_no_difference(difference(arm_means(treated[::6], totals)))

    good, bad = (placebo_check(a, user, seed=4, n_splits=600) for a in (by_user, by_row))
    assert good.passed
    assert good.uniform_p > 0.01
    assert not bad.passed
    assert bad.uniform_p < 1e-6
    assert bad.coverage < 0.85


def test_the_placebo_check_refuses_what_is_not_a_p_value():
    with pytest.raises(ValueError, match=r"p: expected p-values in \[0, 1\], got nan"):
        placebo_check(lambda _: math.nan, np.arange(10), seed=0, n_splits=3)
    with pytest.raises(ValueError, match="clusters: expected at least 4"):
        placebo_check(lambda _: 0.5, np.array([0, 0, 1]), seed=0)


def test_one_arm_alone_has_the_interval_of_the_clustered_mean():
    values = np.random.default_rng(24).gamma(2, 1, 50)
    means = arm_means(halves(50), values)
    own = means.influence[1, halves(50)]
    alone = clustered_mean(values[halves(50)], np.arange(25))
    assert math.sqrt(25 / 24 * own @ own) == pytest.approx(alone.standard_error, rel=1e-12)


# --- arms of whole clusters, in the readout


def in_countries(rng, n_countries=12, *, effect=0.0):
    """Users of unequal countries, half of which are treated; a covariate that countries differ in."""
    sizes = np.maximum(20, np.round(100 * np.exp(rng.standard_normal(n_countries)))).astype(int)
    country = np.repeat(np.arange(n_countries), sizes)
    treated = np.isin(country, rng.permutation(n_countries)[: n_countries // 2])
    level = rng.standard_normal(n_countries)[country]
    before = level + 0.3 * rng.standard_normal(len(country))
    values = 5 + 0.3 * level + 0.1 * rng.standard_normal(n_countries)[country] + effect * treated
    return country, treated, before, values + 0.5 * rng.standard_normal(len(country))


def readout_of_countries(country, treated, values, **metric):
    n = len(country)
    everyone = Users(treated.astype(int), ("old", "new"), (1, 1), np.ones(n), cluster=country)
    return read_out(everyone, [Metric("time", values, **metric)])


def test_arms_of_countries_are_read_by_country():
    rng = np.random.default_rng(30)
    country, treated, before, values = in_countries(rng)
    found = readout_of_countries(
        country, treated, values, covariates=(Covariate("before", before, np.zeros(len(country))),)
    )
    readout = found.readouts[0]
    trial = cluster_trial(treated, values, np.ones(len(values)), country, seed=0)
    assert readout.trial == trial
    assert readout.raw.difference.n_clusters == 12
    assert readout.raw.difference.value == pytest.approx(trial.difference.value, abs=1e-12)
    assert readout.raw.difference.df < 10
    assert readout.adjusted.difference.standard_error < 0.7 * readout.raw.difference.standard_error
    as_users = read_out(
        Users(treated.astype(int), ("old", "new"), (treated.sum(), (~treated).sum()), np.ones(len(values))),
        [Metric("time", values)],
    ).readouts[0]
    assert as_users.trial is None
    # the sizes that are tested are those of the arms' countries, not of users who come with them
    assert found.sample_ratios[0].counts == (6, 6)


def test_intervals_of_unequal_countries_cover_with_and_without_covariates():
    # 300 experiments; 2 Monte Carlo errors .025
    rng, covered = np.random.default_rng(31), np.zeros(2)
    for _ in range(300):
        country, treated, before, values = in_countries(rng, effect=0.2)
        known = Covariate("before", before, np.zeros(len(country)))
        readout = readout_of_countries(country, treated, values, covariates=(known,)).readouts[0]
        for i, effect in enumerate((readout.raw, readout.adjusted)):
            covered[i] += effect.difference.low <= 0.2 <= effect.difference.high
    assert (covered / 300 >= 0.93 - 0.025).all()
    assert (covered / 300 <= 0.97 + 0.025).all()


def test_countries_of_one_size_have_the_t_test_of_welch():
    from scipy.stats import ttest_ind

    country, values = countries(np.random.default_rng(32))
    found = readout_of_countries(country, country < 6, values).readouts[0].raw
    means = values.reshape(12, -1).mean(axis=1)
    theirs = ttest_ind(means[:6], means[6:], equal_var=False)
    assert found.difference.value / found.difference.standard_error == pytest.approx(
        theirs.statistic, abs=1e-9
    )


def test_a_country_in_two_arms_or_alone_in_one_is_refused():
    four = np.repeat(np.arange(4), 50)
    with pytest.raises(ValueError, match="expected one arm per cluster, got two for 0"):
        readout_of_countries(four, halves(200), np.arange(200.0))
    readout = readout_of_countries(four, four == 1, np.arange(200.0)).readouts[0]
    assert (readout.status, readout.raw) == ("REFUSED", None)
    assert readout.reason == "an arm has 1 clusters to measure, at least 2 are needed"


def test_countries_that_differed_before_are_not_adjusted_by_it():
    rng = np.random.default_rng(33)
    country, treated, before, values = in_countries(rng, 30)
    far = Covariate("before", before / 100 + 9.0 * treated, np.zeros(len(country)))
    readout = readout_of_countries(country, treated, values, covariates=(far,)).readouts[0]
    assert readout.adjusted is None
    assert readout.reason == "not adjusted: the arms differed before in before"
    # countries always differ; users would call it an imbalance
    near = Covariate("before", before, np.zeros(len(country)))
    assert readout_of_countries(country, treated, values, covariates=(near,)).readouts[0].adjusted is not None


# --- quantiles, in the readout


def test_quantiles_of_harm_views_are_read_with_the_share_beyond_them():
    rng = np.random.default_rng(34)
    n = 6_000
    treated = halves(n)
    harm = rng.poisson(rng.gamma(0.5, np.where(treated, 3.0, 6.0))).astype(float)
    everyone = users(n, treated=treated, cuts={"country": StringColumn.from_values(["in", "us"] * (n // 2))})
    found = read_out(everyone, [QuantileMetric("harm_views", harm, np.arange(n), at=(0.5, 0.9, 0.99))])
    assert [r.metric for r in found.readouts[:3]] == ["harm_views p50", "harm_views p90", "harm_views p99"]
    tail = found.readouts[1]
    expected = [np.quantile(harm[side], 0.9, method="inverted_cdf") for side in (~treated, treated)]
    assert [tail.raw.control, tail.raw.treatment] == expected
    assert tail.raw.difference.high < 0
    assert tail.raw.relative.high < 0
    # the share beyond the common quantile is an ordinary metric of the same users
    pooled = np.quantile(harm, 0.9, method="inverted_cdf")
    direct = read_out(everyone, [Metric("beyond", (harm > pooled).astype(float))]).readouts[0].raw
    assert tail.beyond == direct
    assert tail.raw.p == direct.p
    assert "have exactly this value: see the share beyond it" in found.readouts[0].reason
    assert found.readouts[2].reason == ""


def test_quantiles_of_rows_are_by_user_and_of_countries_by_country():
    rng = np.random.default_rng(35)
    user = rng.integers(0, 400, 8_000)
    time = np.exp(rng.standard_normal(400)[user] + 0.2 * rng.standard_normal(8_000))
    country = np.arange(400) // 20
    arm = country % 2
    metric = QuantileMetric("wait", time, user, at=(0.9,))
    by_user, by_country = (
        read_out(Users(arm, ("old", "new"), (1, 1), np.ones(400), cluster=cluster), [metric]).readouts[0].raw
        for cluster in (None, country)
    )
    assert by_user.difference.value == by_country.difference.value
    assert by_user.difference.n_clusters == len(np.unique(user))
    assert by_country.difference.n_clusters == 20
    assert by_user.difference.n == 8_000


def test_a_quantile_beyond_the_data_of_both_arms_is_refused():
    few = users(40)
    found = read_out(few, [QuantileMetric("wait", np.arange(40.0), np.arange(40), at=(0.99,))]).readouts[0]
    assert (found.status, found.raw) == ("REFUSED", None)
    assert found.reason == "too little data at either end of quantile 0.99"
    nobody = QuantileMetric("wait", np.ones(1), np.zeros(1, int), at=(0.5,))
    assert read_out(few, [nobody]).readouts[0].reason.startswith("an arm has 0 users")


def test_wrong_values_of_a_quantile_are_refused():
    for values, user, message in (
        (np.ones(3), np.arange(2), "wait: expected 3 users, got 2"),
        (np.ones(2), np.array([0, 8]), "wait: user: expected 0 to 7, got 0 to 8"),
        (np.array([1.0, np.nan]), np.arange(2), "wait: expected finite numbers, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            read_out(users(8), [QuantileMetric("wait", values, user)])


def test_no_quantile_is_diluted():
    n = 2_000
    triggered = np.arange(n) % 5 < 2
    found = read_out(
        users(n, triggered=triggered),
        [QuantileMetric("wait", np.arange(float(n)) % 97, np.arange(n), at=(0.5,))],
    ).readouts
    assert [r.population for r in found] == ["everyone", "triggered"]
