"""Counts within groups: statsmodels, known rate ratios, coverage, and data that cannot say."""

import numpy as np
import pytest
import statsmodels.api as sm

from eval.count_regression import fit_counts
from eval.moral_words import moral_word_ratios


def posts(ratio=1.12, *, n_publishers=30, n_posts=40, spread=0.5, seed=0):
    """Shares of posts: publishers of unlike size, posts beyond Poisson by a gamma, `ratio` per word."""
    rng = np.random.default_rng(seed)
    publisher = np.repeat(np.arange(n_publishers), n_posts)
    words = rng.poisson(0.7, len(publisher)).astype(np.float64)
    length = rng.normal(0, 1, len(publisher)) + 0.3 * words
    mean = np.exp(rng.normal(3, 1, n_publishers))[publisher] * ratio**words * np.exp(0.2 * length)
    shares = rng.poisson(mean * rng.gamma(1 / spread, spread, len(publisher))).astype(np.float64)
    return shares, words, length, publisher


def levels(publisher):
    return (publisher[:, None] == np.unique(publisher)).astype(np.float64)


def test_absorbed_levels_give_what_statsmodels_gives_with_a_column_per_publisher():
    shares, words, length, publisher = posts(n_publishers=12)
    x = np.column_stack([words, length])
    design = np.column_stack([x, levels(publisher)])
    found = fit_counts(shares, x, publisher, publisher)
    oracle = sm.GLM(shares, design, family=sm.families.Poisson()).fit(tol=1e-12)
    assert found.coefficients == pytest.approx(oracle.params[:2], abs=1e-8)
    assert (found.n, found.n_groups, found.dispersion) == (480, 12, 0.0)


def test_the_negative_binomial_and_its_dispersion_are_those_of_statsmodels():
    shares, words, length, publisher = posts(n_publishers=8)
    x = np.column_stack([words, length])
    found = fit_counts(shares, x, publisher, publisher, family="negative binomial")
    start = np.append(np.full(10, 0.2), 0.7)
    start[2:10] = [np.log(shares[publisher == each].mean()) for each in range(8)]
    model = sm.NegativeBinomial(shares, np.column_stack([x, levels(publisher)]))
    with np.errstate(all="ignore"):
        oracle = model.fit(start_params=start, disp=0, maxiter=2_000, method="bfgs")
    assert found.coefficients == pytest.approx(oracle.params[:2], abs=2e-4)
    assert found.dispersion == pytest.approx(oracle.params[-1], rel=1e-3)


def test_a_rate_ratio_of_1_12_is_recovered_and_covered():
    # 120 repeats: the share covered has a standard error of 0.02
    covered, values = {"poisson_held": [], "negative_binomial": []}, []
    for seed in range(120):
        shares, words, length, publisher = posts(seed=seed, n_publishers=25, n_posts=30)
        found = moral_word_ratios(shares, words, publisher, held={"length": length})
        for name, each in covered.items():
            one = getattr(found, name)
            each.append(one.low <= 1.12 <= one.high)
        values.append(found.negative_binomial.value)
    assert np.mean(values) == pytest.approx(1.12, abs=0.006)
    for each in covered.values():
        assert abs(np.mean(each) - 0.95) < 4 * 0.02


def test_length_that_is_not_held_is_taken_for_words():
    shares, words, length, publisher = posts(n_posts=400, seed=1)
    found = moral_word_ratios(shares, words, publisher, held={"length": length})
    assert found.poisson.low > found.poisson_held.value  # 1.12 * exp(0.2 * 0.3) = 1.189
    assert found.poisson.value == pytest.approx(1.189, abs=0.03)


def test_publishers_that_say_nothing_are_left_out_and_counted():
    shares, words, _, publisher = posts(n_publishers=12, n_posts=20)
    silent = np.where(publisher < 2, 0.0, shares)
    found = fit_counts(silent, words[:, None], publisher, publisher)
    assert (found.n, found.n_groups, found.n_silent) == (200, 10, 40)
    kept = publisher >= 2
    assert found.coefficients == pytest.approx(
        fit_counts(shares[kept], words[kept, None], publisher[kept], publisher[kept]).coefficients
    )


@pytest.mark.parametrize("family", ["poisson", "negative binomial"])
def test_separation_has_no_ratio(family):
    _, words, _, publisher = posts(n_publishers=12)
    shares = np.where(words > 0, 0.0, 5.0 + np.arange(len(words)) % 3)
    with pytest.raises(ValueError, match="separation"):
        fit_counts(shares, (words > 0).astype(np.float64)[:, None], publisher, publisher, family=family)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": -1.0}, "counts: expected finite numbers of at least 0, got -1 at row 0"),
        ({"counts": 0.0}, "counts: expected some above 0, got none"),
        ({"words": 1.0}, "columns: expected each to vary within a publisher"),
    ],
)
def test_counts_that_cannot_be_are_refused(change, message):
    shares, words, _, publisher = posts(n_publishers=12)
    if "counts" in change:
        shares = np.full_like(shares, change["counts"])
    if "words" in change:
        words = np.full_like(words, change["words"])
    with pytest.raises(ValueError, match=message):
        fit_counts(shares, words[:, None], publisher, publisher)


def test_columns_that_make_up_another_are_refused():
    shares, words, _, publisher = posts(n_publishers=12)
    with pytest.raises(ValueError, match=r"made up of others|make up"):
        fit_counts(shares, np.column_stack([words, 2 * words]), publisher, publisher)


def test_too_few_publishers_or_no_words_are_refused():
    shares, words, _, publisher = posts(n_publishers=9)
    with pytest.raises(ValueError, match="at least 100 of 10 publishers, got 360 of 9"):
        moral_word_ratios(shares, words, publisher)
    with pytest.raises(ValueError, match="expected texts with words of the list, got none"):
        moral_word_ratios(shares, np.zeros_like(words), publisher)
