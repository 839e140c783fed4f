"""Headline tests: closed forms, statsmodels and scipy, simulations with a known effect, the archive itself.

The word lists in data/headline_words.csv were written before the archive was read and not changed since. The
longer one was written after the shorter one's effect was known, in one go, and not fitted to the archive.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable

from eval.lexicon import read_lexicon
from eval.upworthy import (
    HeadlineArms,
    count_words,
    effect_within_tests,
    rate_per_word,
    read_upworthy,
    sample_ratio_p,
    shuffled_within_tests,
)
from reranker.columns import StringColumn

PATH = Path(__file__).resolve().parents[2] / "shared" / "data" / "engagement" / "upworthy_ab_tests.parquet"
WORDS = Path(__file__).parent / "data" / "headline_words.csv"
LONGER = WORDS.with_name("headline_words_longer.csv")
needs_data = pytest.mark.skipif(not PATH.exists(), reason=f"the Upworthy archive is not at {PATH}")


def arms(test, impressions, clicks, image=None):
    n = len(test)
    return HeadlineArms(
        test=np.array(test, dtype=np.int64),
        image=np.zeros(n, dtype=np.int64) if image is None else np.array(image, dtype=np.int64),
        headline=StringColumn.from_values([f"h{i}" for i in range(n)]),
        impressions=np.array(impressions, dtype=np.float64),
        clicks=np.array(clicks, dtype=np.float64),
    )


def simulated(effect, *, n_tests=2_000, spread=0.3, seed=0):
    """Tests of 4 headlines, 3,000 readers each; headlines differ by exp(N(0, spread)) beyond the effect."""
    rng = np.random.default_rng(seed)
    test = np.repeat(np.arange(n_tests), 4)
    words = rng.poisson(0.5, len(test)).astype(np.float64)
    rate = 0.015 * np.exp(rng.normal(0, 0.5, n_tests))[test] * np.exp(rng.normal(0, spread, len(test)))
    clicks = rng.binomial(3_000, np.minimum(rate * np.where(words > 0, 1 + effect, 1), 1))
    return arms(test, np.full(len(test), 3_000), clicks), words


def test_the_pooled_ratio_of_two_tests_by_hand():
    # test 0: 20 of 100 with a word, 10 of 100 without; test 1: 3 of 100 with, 6 of 300 without
    # sum(a n0 / N) = 20 * 100 / 200 + 3 * 300 / 400 = 12.25
    # sum(b n1 / N) = 10 * 100 / 200 + 6 * 100 / 400 = 6.5
    found = effect_within_tests(
        arms([0, 0, 1, 1], [100, 100, 100, 300], [20, 10, 3, 6]), np.array([1, 0, 2, 0.0])
    )
    assert found.relative.value == pytest.approx(12.25 / 6.5 - 1, rel=1e-12)
    assert found.wins.value == 1.0
    assert (found.n_tests, found.n_informative) == (2, 2)


def test_a_win_counts_one_and_a_tie_half():
    data = arms([0, 0, 1, 1, 2, 2, 3, 3], [100] * 8, [2, 1, 1, 5, 3, 3, 9, 8])
    found = effect_within_tests(data, np.array([1.0, 0] * 4))
    assert found.wins.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)


def test_the_pooled_ratio_is_that_of_statsmodels():
    data, words = simulated(0.1, n_tests=50)
    tables = []
    for t in range(50):
        rows = data.test == t
        with_word = [((words > 0) == kind) & rows for kind in (True, False)]
        if all(part.any() for part in with_word):
            clicks = [data.clicks[part].sum() for part in with_word]
            shown = [data.impressions[part].sum() for part in with_word]
            tables.append([[c, n - c] for c, n in zip(clicks, shown, strict=True)])
    expected = StratifiedTable(np.array(tables).transpose(1, 2, 0)).riskratio_pooled
    assert effect_within_tests(data, words).relative.value == pytest.approx(expected - 1, rel=1e-12)


def test_the_rate_per_word_is_that_of_poisson_regression_with_a_level_per_test():
    data, words = simulated(0.1, n_tests=40, seed=3)
    levels = (data.test[:, None] == np.arange(40)).astype(np.float64)
    model = sm.GLM(
        data.clicks,
        np.column_stack([words, levels]),
        family=sm.families.Poisson(),
        offset=np.log(data.impressions),
    )
    fitted = model.fit(tol=1e-12, cov_type="cluster", cov_kwds={"groups": data.test, "use_correction": False})
    found = rate_per_word(data, words)
    assert found.value == pytest.approx(fitted.params[0], abs=1e-8)
    n_used = (
        found.n_clusters
    )  # tests whose headlines all have as many words add nothing but count in G / (G - 1)
    assert found.standard_error == pytest.approx(fitted.bse[0] * np.sqrt(n_used / (n_used - 1)), rel=0.01)


def test_a_known_effect_is_found_and_the_two_analyses_agree():
    data, words = simulated(0.056)
    found = effect_within_tests(data, words).relative
    assert abs(found.value - 0.056) < 4 * found.standard_error
    assert found.low > 0
    other = rate_per_word(data, (words > 0).astype(np.float64))
    assert np.expm1(other.value) == pytest.approx(found.value, abs=found.standard_error)


def test_intervals_cover_the_truth_though_headlines_differ_beyond_chance():
    # binomial errors alone would be a third of these: a click-through of 1.5% of 3,000 is known to 15%, and
    # headlines differ by 30% more; 300 repeats, so the share covered has a standard error of 0.0126
    covered = []
    for seed in range(300):
        found = effect_within_tests(*simulated(0.1, n_tests=60, seed=seed)).relative
        covered.append(found.low <= 0.1 <= found.high)
    assert abs(np.mean(covered) - 0.95) < 4 * 0.0126


def test_words_dealt_out_anew_have_no_effect():
    data, words = simulated(0.5, n_tests=300)
    rng = np.random.default_rng(1)
    dealt = [shuffled_within_tests(data, words, rng) for _ in range(200)]
    assert all((np.bincount(data.test, one) == np.bincount(data.test, words)).all() for one in dealt)
    found = [effect_within_tests(data, one).relative for one in dealt]
    values = np.array([one.value for one in found])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(200) + 0.001  # 0.001: a ratio is a little above 1
    rejected = np.mean([not one.low <= 0 <= one.high for one in found])
    assert rejected < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_pictures_of_one_test_are_no_tests_of_their_own():
    data, words = simulated(0.1, n_tests=100)
    n = len(data)
    twice = arms(
        np.tile(data.test, 2), np.tile(data.impressions, 2), np.tile(data.clicks, 2), np.repeat([0, 1], n)
    )
    once = effect_within_tests(data, words).relative
    found = effect_within_tests(twice, np.tile(words, 2), same_image=True).relative
    assert found.value == pytest.approx(once.value, rel=1e-12)
    assert found.standard_error == pytest.approx(once.standard_error, rel=1e-12)
    assert found.n_clusters == once.n_clusters


def test_headlines_beside_other_pictures_are_not_compared_where_the_picture_must_be_the_same():
    data = arms([0, 0, 1, 1, 2, 2], [100] * 6, [9, 5, 8, 5, 99, 1], image=[0, 0, 0, 0, 0, 1])
    words = np.array([1.0, 0, 1, 0, 1, 0])
    assert effect_within_tests(data, words, same_image=True).n_informative == 2
    assert effect_within_tests(data, words).n_informative == 3
    unknown = arms([0, 0, 1, 1, 2, 2], [100] * 6, [9, 5, 8, 5, 99, 1], image=[0, 0, 0, 0, -1, -1])
    assert effect_within_tests(unknown, words, same_image=True).n_informative == 2


def test_a_missing_headline_is_left_out_and_counted():
    data, words = simulated(0.1, n_tests=30)
    holes = words.copy()
    holes[:5] = np.nan
    found = effect_within_tests(data, holes)
    assert found.n_without_text == 5
    assert found.relative == effect_within_tests(data.where(~np.isnan(holes)), words[5:]).relative


def test_uneven_arms_are_found_as_scipy_finds_them():
    data = arms([0, 0, 1, 1, 1, 2, 3, 3], [3000, 3100, 500, 900, 700, 50, 3, 4], [1] * 8)
    p = sample_ratio_p(data)
    assert p[:5] == pytest.approx(
        [stats.chisquare([3000, 3100]).pvalue] * 2 + [stats.chisquare([500, 900, 700]).pvalue] * 3
    )
    assert np.isnan(p[5:]).all()  # one arm; fewer than 5 expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clicks": [3, 101]}, "got 101 of 100 at row 1"),
        ({"clicks": [-1, 1]}, "got -1 of 100 at row 0"),
        ({"clicks": [1]}, "clicks: expected 2 rows, got 1"),
    ],
)
def test_impossible_arms_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        arms(**({"test": [0, 0], "impressions": [100, 100], "clicks": [1, 2]} | change))


def test_words_that_tell_nothing_are_refused():
    data = arms([0, 0, 1, 1], [100] * 4, [1, 2, 3, 4])
    for words in (np.zeros(4), np.array([1.0, 1, 0, 0])):
        with pytest.raises(ValueError, match="headlines of both kinds, got none"):
            effect_within_tests(data, words)
        with pytest.raises(ValueError, match="in which they differ"):
            rate_per_word(data, words)
    with pytest.raises(ValueError, match="at least 2 users, got 1"):
        effect_within_tests(data, np.array([1.0, 0, 0, 0]))
    with pytest.raises(ValueError, match=r"words: expected shape \(4,\)"):
        effect_within_tests(data, np.zeros(3))


def test_a_file_becomes_arms(tmp_path):
    path = tmp_path / "tests.parquet"
    columns = {
        "clickability_test_id": ["b", "b", "a"],
        "headline": ["A terrible day", None, "A day"],
        "eyecatcher_id": ["x", None, "x"],
        "impressions": [10, 20, 30],
        "clicks": [1, 2, 3],
    }
    pq.write_table(pa.table(columns), path)
    data = read_upworthy(path)
    assert data.test.tolist() == [0, 0, 1]
    assert data.image.tolist() == [0, -1, 0]
    words = count_words(data, read_lexicon(WORDS, ["Negative"]))
    assert words[[0, 2]].tolist() == [1.0, 0.0]
    assert np.isnan(words[1])
    pq.write_table(pa.table(columns | {"clicks": [1, None, 3]}), path)
    with pytest.raises(ValueError, match="clicks: expected a value in every row, got 1 nulls"):
        read_upworthy(path)
    pq.write_table(pa.table({name: columns[name] for name in ("headline", "clicks")}), path)
    with pytest.raises(ValueError, match="got none named clickability_test_id, eyecatcher_id, impressions"):
        read_upworthy(path)


@pytest.fixture(scope="module")
def archive():
    return read_upworthy(PATH)


@needs_data
def test_in_the_archive_headlines_with_a_negative_word_are_clicked_more(archive):
    # stated with another list: +5.6% relative; published per word: +2.3%
    assert (len(archive), len(np.unique(archive.test))) == (22_666, 4_873)
    words = count_words(archive, read_lexicon(WORDS, ["Negative"]))
    found = effect_within_tests(archive, words)
    assert found.n_informative == 1_338
    assert 100 * found.relative.value == pytest.approx(4.0, abs=0.1)
    assert 0 < found.relative.low <= 0.056 <= found.relative.high
    assert found.wins.low > 0.5
    per_word = rate_per_word(archive, words)
    assert 0 < per_word.low <= np.log(1.023) <= per_word.high
    assert effect_within_tests(archive, words, same_image=True).relative.low > 0


@needs_data
def test_in_the_archive_a_longer_list_of_negative_words_finds_the_same(archive):
    words = count_words(archive, read_lexicon(LONGER, ["Negative"]))
    found = effect_within_tests(archive, words)
    assert found.n_informative == 1_507
    assert 100 * found.relative.value == pytest.approx(4.9, abs=0.1)
    assert 0 < found.relative.low <= 0.056 <= found.relative.high
    per_word = rate_per_word(archive, words)
    assert 0 < per_word.low <= np.log(1.023) <= per_word.high


@needs_data
def test_in_the_archive_words_of_no_colour_have_no_effect_that_can_be_told(archive):
    words = count_words(archive, read_lexicon(WORDS, ["Placebo"]))
    found = effect_within_tests(archive, words).relative
    assert found.low < 0 < found.high
    rng = np.random.default_rng(0)
    negative = count_words(archive, read_lexicon(WORDS, ["Negative"]))
    shuffled = [
        effect_within_tests(archive, shuffled_within_tests(archive, negative, rng)).relative
        for _ in range(40)
    ]
    values = np.array([one.value for one in shuffled])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(40)
    assert np.mean([one.low <= 0 <= one.high for one in shuffled]) > 0.8


@needs_data
def test_in_the_archive_uneven_tests_are_those_of_half_a_year_and_do_not_make_the_effect(archive):
    # the publishers of the archive report that randomisation failed from June 2013 to January 2014
    fair = ~(sample_ratio_p(archive) < 0.0005)
    assert len(np.unique(archive.test[~fair])) == 718
    words = count_words(archive, read_lexicon(WORDS, ["Negative"]))
    found = effect_within_tests(archive.where(fair), words[fair]).relative
    assert found.low > 0
