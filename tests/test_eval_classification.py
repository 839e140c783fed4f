import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from eval.classification import auroc, auroc_change, average_precision, recall_at_fpr
from eval.judged import judged, percentile_interval, resampled_weights
from eval.operating import control_risk, cost_threshold, deferral_band, top_k_loss
from eval.reliability import brier_parts, calibration_error, calibration_line, equal_weight_bins
from eval.score_drift import (
    at_prevalence,
    drift_by_period,
    labels_complete,
    score_drift,
    shifted_prevalence,
)
from eval.subgroups import generalised_mean, group_figures, multicalibration


def posts(n=800, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 4, n)
    p = p.round(2) if ties else p
    return p, rng.random(n) < p, rng.lognormal(0, 1, n), rng.integers(0, n // 4, n)


def table_of(n=800, seed=0, **more):
    p, present, weight, cluster = posts(n, seed, **more)
    return judged(p, present, weight=weight, cluster=cluster)


def test_figures_by_view_are_those_of_scikit_learn_with_sample_weights():
    table = table_of()
    p, present, weight = table.p, table.present, table.weight
    assert auroc(table).value == pytest.approx(roc_auc_score(present, p, sample_weight=weight), rel=1e-12)
    expected = average_precision_score(present, p, sample_weight=weight)
    assert average_precision(table, n_resamples=50).value == pytest.approx(expected, rel=1e-12)
    false, true, _ = roc_curve(present, p, sample_weight=weight, drop_intermediate=False)
    for rate in (0.001, 0.01, 0.1, 0.5):
        best = true[false <= rate].max()
        assert recall_at_fpr(table, rate, n_resamples=50).value == pytest.approx(best, rel=1e-12)


def test_views_and_posts_are_not_the_same_figure():
    table = table_of()
    by_post = judged(table.p, table.present)
    assert by_post.weight.tolist() == [1.0] * table.n
    assert auroc(by_post).value == pytest.approx(roc_auc_score(table.present, table.p), rel=1e-12)
    assert abs(auroc(by_post).value - auroc(table).value) > 1e-4


def test_the_error_of_an_auroc_is_delongs():
    p, present, _, _ = posts(400)
    # DeLong by its definition: variances of the placement values over all pairs.
    pairs = (p[present][:, None] > p[~present]) + 0.5 * (p[present][:, None] == p[~present])
    variance = pairs.mean(1).var(ddof=1) / present.sum() + pairs.mean(0).var(ddof=1) / (~present).sum()
    assert auroc(judged(p, present)).standard_error == pytest.approx(np.sqrt(variance), rel=0.01)


def test_the_error_of_an_auroc_is_by_user():
    p, present, _, _ = posts(300)
    once = auroc(judged(p, present))
    fivefold = [np.repeat(x, 5) for x in (p, present, np.arange(300))]
    again = auroc(judged(fivefold[0], fivefold[1], cluster=fivefold[2]))
    assert again.standard_error == pytest.approx(once.standard_error, rel=1e-9)
    assert again.n_clusters == 300
    by_row = auroc(judged(fivefold[0], fivefold[1]))
    assert by_row.standard_error < 0.5 * again.standard_error


def test_intervals_of_the_auroc_cover_the_truth():
    # normal scores one apart: the truth is Phi(1 / sqrt 2) = 0.7602; users of 4 posts with a common shift
    # of the score within the class, so that posts of a user are alike
    truth, covered, n = 0.76024993890652, 0, 300
    rng = np.random.default_rng(3)
    for _ in range(n):
        user = np.repeat(np.arange(60), 4)
        present = rng.random(240) < 0.4
        shift = rng.normal(0, np.sqrt(0.5), (60, 2))[user, present.astype(int)]
        z = present + shift + rng.normal(0, np.sqrt(0.5), 240)
        found = auroc(judged(1 / (1 + np.exp(-z)), present, cluster=user))
        covered += found.low <= truth <= found.high
    assert abs(covered / n - 0.95) < 4 * np.sqrt(0.95 * 0.05 / n)


def test_resampled_intervals_agree_with_the_analytic_one():
    table = table_of(1_200)
    found = auroc(table)
    drawn = np.array([auroc(table.weighted(w)).value for w in resampled_weights(table, 400, seed=1)])
    assert percentile_interval(drawn, 0.95).standard_error == pytest.approx(found.standard_error, rel=0.15)
    precision = average_precision(table, n_resamples=400)
    assert precision.interval.low < precision.value < precision.interval.high


def test_a_paired_change_of_the_auroc_is_tighter_than_two_intervals():
    p, present, weight, cluster = posts(600)
    noisy = np.clip(p + np.random.default_rng(1).normal(0, 0.02, len(p)), 0, 1)
    first, second = (judged(x, present, weight=weight, cluster=cluster) for x in (p, noisy))
    change = auroc_change(first, second)
    assert change.value == pytest.approx(auroc(second).value - auroc(first).value)
    assert change.standard_error < 0.5 * auroc(first).standard_error
    same = auroc_change(first, first)
    assert (same.value, same.standard_error) == (0.0, 0.0)
    with pytest.raises(ValueError, match="cluster: expected two scores of the same posts"):
        auroc_change(first, judged(p, present, weight=weight))


def test_figures_do_not_depend_on_the_order_of_the_rows():
    p, present, weight, cluster = posts()
    order = np.random.default_rng(5).permutation(len(p))
    first = judged(p, present, weight=weight, cluster=cluster)
    second = judged(p[order], present[order], weight=weight[order], cluster=cluster[order])
    for figure in (
        lambda t: auroc(t).value,
        lambda t: average_precision(t, n_resamples=30).interval.low,
        lambda t: calibration_error(t).plain,
        lambda t: brier_parts(t).reliability,
        lambda t: calibration_line(t).slope.standard_error,
    ):
        assert figure(first) == pytest.approx(figure(second), rel=1e-12)


def test_the_calibration_error_of_a_calibrated_classifier_is_noise_and_is_taken_off():
    rng = np.random.default_rng(7)
    plain, noise, square, debiased = [], [], [], []
    for _ in range(100):
        p = rng.uniform(0.05, 0.3, 1_500)
        found = calibration_error(judged(p, rng.random(1_500) < p))
        plain.append(found.plain)
        noise.append(found.noise)
        debiased.append(found.root_mean_square)
        gaps = [(b.share, b.gap.value**2 - b.gap.standard_error**2) for b in found.bins]
        square.append(sum(share * value for share, value in gaps))
    assert np.mean(plain) > 0.02  # what would be reported as an error
    assert np.mean(plain) == pytest.approx(np.mean(noise), rel=0.05)
    # an unbiased estimate of 0 is below it, and cut off there, about every second time
    assert 0.25 < np.mean(np.array(debiased) == 0) < 0.75
    assert abs(np.mean(square)) < 4 * np.std(square) / np.sqrt(100)


def test_the_debiased_error_finds_the_true_one():
    # every probability is 0.05 too high: the root mean square gap is 0.05, and so is that of all in one bin
    rng = np.random.default_rng(8)
    p = rng.uniform(0.1, 0.9, 40_000)
    found = calibration_error(judged(p + 0.05, rng.random(40_000) < p))
    assert found.root_mean_square == pytest.approx(0.05, abs=0.012)
    assert found.in_the_large.low < -0.05 < found.in_the_large.high
    assert all(b.frequency.low <= b.p - 0.05 + 0.03 for b in found.bins)


def test_noise_is_larger_where_the_posts_of_a_user_are_alike():
    rng = np.random.default_rng(9)
    p = np.repeat(rng.uniform(0.2, 0.8, 200), 10)
    present = np.repeat(rng.random(200), 10) < p
    by_row = calibration_error(judged(p, present))
    by_user = calibration_error(judged(p, present, cluster=np.repeat(np.arange(200), 10)))
    assert by_row.plain == pytest.approx(by_user.plain)
    assert by_user.noise > 2.5 * by_row.noise


def test_views_decide_the_calibration_that_biases_a_prevalence():
    p = np.array([0.1, 0.1, 0.1, 0.1])
    present = np.array([True, False, False, False])
    weight = np.array([97.0, 1.0, 1.0, 1.0])
    found = calibration_error(judged(p, present, weight=weight))
    assert found.in_the_large.value == pytest.approx(0.97 - 0.1)
    assert found.plain == pytest.approx(0.87)


def test_a_bin_of_one_user_has_no_interval():
    user = np.array([0, 0, 0, 0, 1, 2, 3, 4])
    p = np.array([0.1, 0.1, 0.1, 0.1, 0.8, 0.8, 0.9, 0.9])
    found = calibration_error(judged(p, p > 0.5, cluster=user), 2)
    assert found.bins[0].gap is None
    assert found.bins[1].gap.n_clusters == 4


def test_bins_hold_equal_weights_and_never_part_equal_probabilities():
    p, _, weight, _ = posts(5_000, ties=False)
    at = equal_weight_bins(p, weight, 15)
    mass = np.bincount(at, weight) / weight.sum()
    assert len(mass) == 15
    assert np.abs(mass - 1 / 15).max() < 2 * weight.max() / weight.sum()
    tied = np.repeat([0.1, 0.2], [990, 10])
    assert equal_weight_bins(tied, np.ones(1_000)).tolist() == [0] * 990 + [1] * 10


def test_slope_and_intercept_are_those_of_logistic_regression_with_clustered_errors():
    p, present, _, cluster = posts(1_500, ties=False)
    logit = np.log(p / (1 - p))
    found = calibration_line(judged(p, present, cluster=cluster))
    model = sm.GLM(present.astype(float), sm.add_constant(logit), family=sm.families.Binomial())
    fit = model.fit(tol=1e-12, cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": True})
    intercept, slope = fit.params
    assert (found.slope.value, found.intercept.value) == pytest.approx((slope, intercept), rel=1e-8)
    # statsmodels multiplies by (n - 1) / (n - 2) on top of G / (G - 1)
    errors = fit.bse / np.sqrt((1_500 - 1) / (1_500 - 2))
    got = (found.intercept.standard_error, found.slope.standard_error)
    assert got == pytest.approx(tuple(errors), rel=1e-6)


def test_slope_and_intercept_count_views():
    table = table_of(1_000, ties=False)
    logit = np.log(table.p / (1 - table.p))[:, None]
    fit = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1_000).fit(
        logit, table.present, sample_weight=table.weight
    )
    found = calibration_line(table)
    assert found.slope.value == pytest.approx(fit.coef_[0, 0], rel=1e-5)
    assert found.intercept.value == pytest.approx(fit.intercept_[0], rel=1e-5, abs=1e-6)


def test_an_overconfident_classifier_has_a_slope_below_one():
    rng = np.random.default_rng(11)
    logit = rng.normal(-1, 1, 20_000)
    present = rng.random(20_000) < 1 / (1 + np.exp(-logit))
    found = calibration_line(judged(1 / (1 + np.exp(-2 * logit)), present))
    assert found.slope.low <= 0.5 <= found.slope.high < 1
    with pytest.raises(ValueError, match="a threshold separates"):
        calibration_line(judged(np.linspace(0.1, 0.9, 50), np.arange(50) >= 25))
    with pytest.raises(ValueError, match="expected several probabilities and both classes"):
        calibration_line(judged(np.full(9, 0.5), np.arange(9) > 4))


def test_the_brier_score_is_reliability_less_resolution_plus_uncertainty():
    p, present, weight, _ = posts(2_000)
    p = (np.floor(p * 10) + 0.5) / 10  # ten values, one per bin: the identity is exact
    found = brier_parts(judged(p, present, weight=weight), 4_000)
    assert found.score == pytest.approx(brier_score_loss(present, p, sample_weight=weight), rel=1e-12)
    assert found.within == pytest.approx(0, abs=1e-12)
    share = np.average(present, weights=weight)
    assert found.uncertainty == pytest.approx(share * (1 - share))
    always = brier_parts(judged(np.full(4, 0.25), np.array([True, False, False, False])))
    assert (always.reliability, always.resolution) == (0.0, 0.0)
    assert always.score == pytest.approx(always.uncertainty) == pytest.approx(0.1875)


def biased(n=6_000, seed=2, lift=0.25):
    """A classifier that takes the harmless posts of one group for harm."""
    rng = np.random.default_rng(seed)
    member, present = rng.random(n) < 0.3, rng.random(n) < 0.2
    p = np.clip(rng.normal(0.25, 0.1, n) + 0.3 * present + lift * (member & ~present), 0, 1)
    return judged(p, present, weight=rng.uniform(1, 3, n), cluster=rng.integers(0, n // 3, n)), member


def test_bpsn_and_the_false_alarm_gap_show_a_group_whose_harmless_posts_are_flagged():
    table, member = biased()
    figures = group_figures(table, {"group": member}, 0.4)[0]
    p, y, w = table.p, table.present, table.weight
    expected = {
        "subgroup": member,
        "bpsn": y & ~member | ~y & member,
        "bnsp": y & member | ~y & ~member,
    }
    for name, rows in expected.items():
        value = roc_auc_score(y[rows], p[rows], sample_weight=w[rows])
        assert getattr(figures, name).value == pytest.approx(value, rel=1e-12)
    assert figures.bpsn.high < figures.bnsp.low
    rates = [np.average(p[~y & side] >= 0.4, weights=w[~y & side]) for side in (member, ~member)]
    assert figures.fpr_gap.value == pytest.approx(rates[0] - rates[1])
    assert figures.fpr_gap.low > 0.5
    assert figures.fnr_gap.low < 0 < figures.fnr_gap.high
    fair, again = biased(lift=0.0)
    gap = group_figures(fair, {"group": again}, 0.4)[0].fpr_gap
    assert abs(gap.value) < 4 * gap.standard_error


def test_a_group_with_few_harmful_posts_is_insufficient_and_not_fair():
    table, member = biased(900)
    few = member & (np.cumsum(member & table.present) < 100)
    rows = group_figures(table, {"few": few, "all": np.ones(900, bool), "none": np.zeros(900, bool)}, 0.4)
    for row in rows:
        assert row.status == "insufficient"
        assert (row.subgroup, row.bpsn, row.bnsp, row.fpr_gap, row.fnr_gap) == (None,) * 5
    assert group_figures(table, {"few": few}, 0.4, min_of_each=20)[0].status == "measured"


def test_the_generalised_mean_leans_to_the_worst_group():
    assert generalised_mean(np.array([0.8, 0.8])) == pytest.approx(0.8)
    # ((0.5^-5 + 1) / 2)^(-1/5) = 16.5^(-0.2)
    assert generalised_mean(np.array([0.5, 1.0])) == pytest.approx(16.5**-0.2)
    with pytest.raises(ValueError, match="values: expected at least one, all above 0"):
        generalised_mean(np.array([0.0, 1.0]))


def test_multicalibration_finds_the_segment_that_an_average_hides():
    rng = np.random.default_rng(4)
    n = 20_000
    angry = rng.random(n) < 0.2
    true = np.where(angry, 0.30, 0.05)
    present = rng.random(n) < true
    table = judged(np.full(n, true.mean()), present)  # right on average, wrong in both parts
    found = multicalibration(table, {"angry": angry, "calm": ~angry, "tiny": np.arange(n) < 5})
    assert abs(calibration_error(table).in_the_large.value) < 0.01
    assert found.worst == "angry"
    assert found.insufficient == ("tiny",)
    assert found.low < 0.20 < found.high  # 0.30 less the mean of 0.10
    assert found.gaps["angry"].value == pytest.approx(0.20, abs=0.03)


def test_the_error_that_enters_a_policys_effect_is_by_its_exposure():
    # the example of two strata: means .30 and .02 said, .15 and .05 true; views 20% and 80%, then 10% and 90%
    n = 1_000
    angry = np.arange(2 * n) < n
    p = np.where(angry, 0.30, 0.02)
    present = np.concatenate([np.arange(n) < 150, np.arange(n) < 50])
    gaps = []
    for share in (0.2, 0.1):
        weight = np.where(angry, share, 1 - share)
        table = judged(p, present).weighted(weight)
        gaps.append(multicalibration(table, {"all": np.ones(2 * n, bool)}, min_harmful=50).gaps["all"].value)
    said = [0.3 * 0.2 + 0.02 * 0.8, 0.3 * 0.1 + 0.02 * 0.9]
    true = [value + gap for value, gap in zip(said, gaps, strict=True)]
    assert said[1] / said[0] - 1 == pytest.approx(-0.368, abs=5e-4)
    assert true[1] / true[0] - 1 == pytest.approx(-0.143, abs=5e-4)


def test_bounds_of_the_largest_gap_hold_for_many_calibrated_segments():
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(60):
        p = rng.uniform(0.2, 0.6, 3_000)
        table = judged(p, rng.random(3_000) < p)
        code = rng.integers(0, 15, 3_000)
        found = multicalibration(table, {str(k): code == k for k in range(15)}, min_harmful=20)
        wrong += found.low > 0
    assert wrong <= 0.05 * 60 + 4 * np.sqrt(60 * 0.05 * 0.95)


def test_prior_shift_is_where_the_published_iteration_ends():
    rng = np.random.default_rng(12)
    present = rng.random(4_000) < 0.05
    z = rng.normal(present * 2.0, 1)
    ratio = np.exp(2 * z - 2)  # density ratio of the two normals
    p = 0.3 * ratio / (0.3 * ratio + 0.7)  # calibrated where 30% are harmful
    found = shifted_prevalence(p, 0.3)
    share = 0.3
    for _ in range(3_000):
        share = float(at_prevalence(p, 0.3, share).mean())
    assert found.value == pytest.approx(share, abs=1e-8)
    assert found.low < 0.05 < found.high
    # posteriors at the new prevalence are Bayes' rule with it
    np.testing.assert_allclose(at_prevalence(p, 0.3, 0.05), 0.05 * ratio / (0.05 * ratio + 0.95), rtol=1e-12)


def test_the_interval_of_a_shifted_prevalence_covers_the_truth():
    rng, covered = np.random.default_rng(13), 0
    for _ in range(300):
        present = rng.random(500) < 0.15
        ratio = np.exp(2 * rng.normal(present * 2.0, 1) - 2)
        found = shifted_prevalence(0.4 * ratio / (0.4 * ratio + 0.6), 0.4)
        covered += found.low <= 0.15 <= found.high
    assert abs(covered / 300 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 300)


def test_prior_shift_without_any_harm_is_zero_and_of_uniform_scores_refused():
    assert shifted_prevalence(np.full(50, 1e-6), 0.5).value == 0.0
    with pytest.raises(ValueError, match="expected probabilities that differ from the prevalence"):
        shifted_prevalence(np.full(50, 0.2), 0.2)
    with pytest.raises(ValueError, match=r"expected probabilities and a prevalence in \(0, 1\)"):
        shifted_prevalence(np.array([0.2]), 1.0)


def test_the_cost_threshold_is_where_both_decisions_cost_the_same():
    p = np.linspace(0, 1, 10_001)
    flag, leave, review = 3.0 * (1 - p), 7.0 * p, np.full_like(p, 1.0)
    assert cost_threshold(3.0, 7.0) == pytest.approx(p[np.argmin(np.abs(flag - leave))], abs=1e-4)
    cheapest = np.argmin([leave, review, flag], axis=0)
    band = deferral_band(3.0, 7.0, 1.0)
    assert (band.low, band.high) == pytest.approx((p[cheapest == 1].min(), p[cheapest == 1].max()), abs=2e-4)
    never = deferral_band(3.0, 7.0, 5.0)
    assert never.low == never.high == cost_threshold(3.0, 7.0)
    with pytest.raises(ValueError, match="cost: expected a number above 0, got 0"):
        cost_threshold(0.0, 1.0)


def ranked_feed(rng, n_users):
    n = 3 * n_users
    p = rng.beta(1, 6, 12 * n)
    return p, rng.random(12 * n) < p, np.arange(n + 1) * 12, np.repeat(np.arange(n_users), 3)


def test_the_top_of_a_feed_holds_no_more_harm_than_was_promised_on_average():
    rng, thresholds = np.random.default_rng(14), np.linspace(0.01, 0.9, 40)
    kept = []
    for _ in range(120):
        p, harmful, offsets, user = ranked_feed(rng, 40)
        made = control_risk(top_k_loss(p, harmful, offsets, 4, thresholds), thresholds, 0.08, unit=user)
        fresh, found, offsets, _ = ranked_feed(rng, 40)
        kept.append(top_k_loss(fresh, found, offsets, 4, np.array([made.threshold])).mean())
    error = np.std(kept) / np.sqrt(len(kept))
    assert np.mean(kept) < 0.08 + 4 * error
    assert np.mean(kept) > 0.04  # and not by keeping everything out
    everything = top_k_loss(fresh, found, offsets, 4, np.array([1.0])).mean()
    assert everything > 0.1


def test_risk_control_pays_for_few_units_and_refuses_what_cannot_be_met():
    thresholds = np.array([0.1, 0.2, 0.3])
    # n / (n + 1) * mean + 1 / (n + 1): with 9 units and no loss at all, 0.1
    none = np.zeros((9, 3))
    assert control_risk(none, thresholds, 0.1).threshold == 0.3
    assert control_risk(none, thresholds, 0.099).threshold is None
    # a loss that falls again counts as its highest so far
    rises = np.tile([0.0, 0.5, 0.0], (99, 1))
    assert control_risk(rises, thresholds, 0.2).threshold == 0.1
    # rows of one user are one unit
    assert control_risk(none, thresholds, 0.2, unit=np.arange(9) // 3).threshold is None
    with pytest.raises(ValueError, match="thresholds: expected 3 that rise"):
        control_risk(none, thresholds[::-1], 0.1)
    with pytest.raises(ValueError, match="loss: expected rows of numbers"):
        control_risk(none + 2, thresholds, 0.1)


def test_slots_are_filled_from_below_when_a_post_is_kept_out():
    p = np.array([0.9, 0.1, 0.3, 0.2, 0.8, 0.1])
    harmful = np.array([True, False, True, False, True, False])
    found = top_k_loss(p, harmful, np.array([0, 4, 4, 6]), 2, np.array([0.15, 0.5, 1.0]))
    # request 1: keeps B | B C | A B; request 2 is empty; request 3: keeps F | F | E F
    assert found.tolist() == [[0.0, 0.5, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.5]]
    with pytest.raises(ValueError, match="k: expected at least 1"):
        top_k_loss(p, harmful, np.array([0, 6]), 0, np.array([0.5]))


def test_drift_of_scores_is_measured_and_what_chance_alone_would_give():
    rng = np.random.default_rng(15)
    reference = rng.beta(1, 5, 3_000)
    found = [score_drift(reference, rng.beta(1, 5, 1_000)) for _ in range(100)]
    assert np.mean([one.psi for one in found]) == pytest.approx(found[0].psi_by_chance, rel=0.35)
    assert sum(one.psi_p_value < 0.05 for one in found) <= 5 + 4 * np.sqrt(100 * 0.05 * 0.95)
    moved = rng.beta(1.3, 5, 1_000)
    drift = score_drift(reference, moved)
    expected = ks_2samp(reference, moved, method="asymp")
    assert drift.ks == pytest.approx(expected.statistic, rel=1e-12)
    # scipy uses the finite-sample form of the limit; both say the same of 1,000 posts
    assert drift.ks_p_value == pytest.approx(expected.pvalue, rel=0.5)
    assert drift.psi_p_value < 1e-6


def test_psi_is_the_symmetric_divergence_of_the_bins():
    reference = np.arange(100) / 100
    current = np.concatenate([np.arange(50) / 100, np.arange(50) / 100])
    found = score_drift(reference, current, n_bins=2)
    first, second = np.array([50.5, 50.5]) / 101, np.array([100.5, 0.5]) / 101
    assert found.psi == pytest.approx(((second - first) * np.log(second / first)).sum(), rel=1e-9)
    with pytest.raises(ValueError, match="current: expected at least 10 finite scores, got 3"):
        score_drift(reference, current[:3])


def test_weeks_are_compared_with_the_reference_and_young_labels_left_out():
    rng = np.random.default_rng(16)
    week = np.repeat(np.arange(5), 400)
    score = rng.beta(1, 5, 2_000) ** np.where(week == 4, 0.5, 1.0)
    found = drift_by_period(score, week, (0, 1))
    assert [one.name for one in found] == ["2", "3", "4"]
    assert found[2].psi > 10 * max(found[0].psi, found[1].psi)
    assert labels_complete(np.arange(5), now=5, delay=2).tolist() == [True, True, True, False, False]
    with pytest.raises(ValueError, match="delay: expected 0 or more periods"):
        labels_complete(np.arange(5), now=5, delay=-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: judged(np.array([0.5, np.nan]), np.array([True, False])), "p: expected .* got nan at row 1"),
        (lambda: judged(np.array([1.5]), np.array([True])), "p: expected numbers in"),
        (lambda: judged(np.array([0.5]), np.array([True, False])), "present: expected shape"),
        (lambda: judged(np.array([0.5]), np.array([True]), weight=np.array([-1.0])), "weight: expected"),
        (lambda: auroc(judged(np.array([0.5, 0.2]), np.array([True, True]))), "present: expected weight"),
        (lambda: recall_at_fpr(table_of(), 1.5), "fpr: expected a share"),
        (lambda: average_precision(judged(np.array([0.5]), np.array([False]))), "present: expected some"),
        (lambda: brier_parts(table_of().weighted(np.zeros(800))), "weight: expected some above 0"),
        (lambda: calibration_error(table_of().weighted(np.zeros(800))), "weight: expected some above 0"),
        (lambda: group_figures(table_of(), {"g": np.ones(3, bool)}, 0.5), "g: expected shape"),
        (lambda: multicalibration(table_of(), {"g": np.ones(3, bool)}), "g: expected shape"),
        (lambda: percentile_interval(np.array([np.nan, 1.0]), 0.95), "resamples: expected the figure"),
        (
            lambda: auroc(judged(np.array([0.5, 0.2]), np.array([True, False]), cluster=np.zeros(2))),
            "clusters: expected at least 2 users, got 1",
        ),
    ],
)
def test_tables_that_say_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_segment_with_enough_harm_gives_no_number():
    found = multicalibration(table_of(), {"g": np.zeros(800, bool)})
    assert (found.worst, found.insufficient, dict(found.gaps)) == ("", ("g",), {})
    assert np.isnan([found.low, found.high]).all()
