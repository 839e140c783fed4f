"""How good a fitted table is on unseen viewers, and shares of bad engagement: against outside oracles."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from training.value import FittedValue, fit_value
from training.value_calibration import calibration_error, calibration_line
from training.value_check import accuracy, cross_fit, difference, gaps, hold_out
from training.value_interval import weighted_mean
from training.value_items import ValueItems
from training.value_proof import PRIOR
from training.value_sample import SIGNALS, Survey, sample_items, true_bad_shares
from training.value_shares import bad_shares, sampling_ratio


@cache
def items() -> ValueItems:
    return sample_items(Survey(n_viewers=800, per_viewer=20), 1)


@cache
def fitted() -> FittedValue:
    return fit_value(items(), PRIOR, reference="comment")


def test_shares_of_a_full_sample_are_the_plain_weighted_shares() -> None:
    asked = items().take(items().asked)
    found = fit_value(asked, PRIOR, reference="comment")
    shares = {(s.signal, s.harm): s for s in bad_shares(asked, found, cross_fit(asked, found))}
    rows = asked.signal == SIGNALS.index("comment")
    oracle = weighted_mean(1 - asked.endorsed[rows], asked.weight[rows], asked.viewer[rows])
    whole = shares["comment", ""]
    assert whole.rate == whole.part
    assert whole.rate is not None
    assert oracle is not None
    assert whole.rate.value == pytest.approx(oracle.value, rel=1e-9)
    assert (whole.rate.low, whole.rate.high) == pytest.approx((oracle.low, oracle.high), rel=1e-6)
    rows = asked.signal == SIGNALS.index("like")
    toxic = rows & (asked.level[0] >= 0.5)
    above = shares["like", "toxicity"]
    assert above.rate is not None
    assert above.part is not None
    assert above.rate.value == pytest.approx(
        asked.weight[toxic] @ (1 - asked.endorsed[toxic]) / asked.weight[toxic].sum()
    )
    assert above.part.value == pytest.approx(
        asked.weight[toxic] @ (1 - asked.endorsed[toxic]) / asked.weight[rows].sum()
    )


def test_shares_are_right_even_where_the_table_is_wrong() -> None:
    """The table is held at nonsense; the correction by those asked puts it right, on average."""
    truth = true_bad_shares()["like", "toxicity"]
    off = []
    for seed in range(10):
        survey = sample_items(Survey(n_viewers=300, per_viewer=15, asked=0.8), seed)
        found = fit_value(survey, PRIOR, reference="comment")
        folds = cross_fit(survey, found)
        wrong = replace(folds, table=tuple(replace(t, endorsed=np.full(5, 0.2)) for t in folds.table))
        share = next(
            s for s in bad_shares(survey, found, wrong) if (s.signal, s.harm) == ("like", "toxicity")
        )
        assert share.rate is not None
        off.append(share.rate.value - truth[0])
    assert abs(np.mean(off)) < 4 * np.std(off, ddof=1) / np.sqrt(len(off))


def test_predictions_on_all_engagements_narrow_the_interval_of_a_share() -> None:
    every = {(s.signal, s.harm): s for s in bad_shares(items(), fitted(), cross_fit(items(), fitted()))}
    asked = items().take(items().asked)
    only = {(s.signal, s.harm): s for s in bad_shares(asked, fitted(), cross_fit(asked, fitted()))}
    wider = [
        only[key].part.high - only[key].part.low > share.part.high - share.part.low
        for key, share in every.items()
        if share.part is not None and only[key].part is not None
    ]
    assert np.mean(wider) > 0.7


def test_wrong_sampling_probabilities_are_noticed() -> None:
    ratio = sampling_ratio(items())
    assert ratio is not None
    assert ratio.low < 1 < ratio.high
    halved = replace(items(), weight=items().weight * 2)
    doubled = sampling_ratio(halved)
    assert doubled is not None
    assert doubled.low > 1.5
    assert sampling_ratio(items().take(items().asked)) is None


def test_on_unseen_viewers_the_true_form_beats_the_prior_and_loses_nothing_to_trees() -> None:
    held = hold_out(cross_fit(items(), fitted()), PRIOR)
    own = accuracy(held, "fitted")
    prior, trees = difference(held, "fitted", "prior", SIGNALS), difference(held, "fitted", "freer", SIGNALS)
    rates = difference(held, "fitted", "rates", SIGNALS)
    assert prior is not None
    assert trees is not None
    assert rates is not None
    assert prior.high < 0
    assert rates.high < 0
    assert trees.value < 0.005
    assert own.slope is not None
    assert own.slope.low < 1 < own.slope.high
    assert own.calibration_error < 0.03
    assert accuracy(held, "prior").calibration_error > own.calibration_error
    assert {gap.by for gap in gaps(held, "fitted")} == {"signal", "harm"}
    assert max(abs(gap.gap.value) for gap in gaps(held, "fitted") if gap.by == "signal") < 0.05
    place = replace(held, items=replace(held.items, countries=("A", "B"), country=held.items.signal // 3))
    found = {gap.group: gap for gap in gaps(place, "fitted") if gap.by == "country"}
    rows = held.items.signal < 3
    mean = held.items.weight[rows] @ held.items.endorsed[rows] / held.items.weight[rows].sum()
    assert found["A"].answered == pytest.approx(mean)
    assert set(found) == {"A", "B"}


def test_the_calibration_line_is_the_logistic_regression_of_statsmodels() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 2000)
    y = (rng.random(2000) < p**1.5).astype(float)
    slope, intercept = calibration_line(y, p, np.ones(2000), np.arange(2000))
    oracle = sm.Logit(y, sm.add_constant(np.log(p / (1 - p)))).fit(disp=0, cov_type="HC0")
    assert slope is not None
    assert intercept is not None
    assert (intercept.value, slope.value) == pytest.approx(oracle.params, rel=1e-6)
    assert slope.high - slope.value == pytest.approx(1.961 * oracle.bse[1], rel=2e-3)
    assert calibration_error(y, p, np.ones(2000)) > 0.05
    assert calibration_line(y, np.full(2000, 0.3), np.ones(2000), np.arange(2000)) == (None, None)


def test_calibrated_predictions_have_next_to_no_calibration_error() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(4000)
    errors = [calibration_error((rng.random(4000) < p).astype(float), p, np.ones(4000)) for _ in range(20)]
    assert np.mean(errors) < 0.012
