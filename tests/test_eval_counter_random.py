import numpy as np
import pytest
from scipy import stats

from eval.counter_random import MOST_WEIGHT, poisson_weights, random_words
from eval.hashing import N_BUCKETS, bucket_of, user_keys

USERS = user_keys(np.arange(4_000))


def test_a_weight_depends_on_seed_user_and_replicate_alone():
    every = poisson_weights(USERS, 40, seed=3)
    order = np.random.default_rng(0).permutation(len(USERS))
    np.testing.assert_array_equal(poisson_weights(USERS[order], 40, seed=3), every[order])
    for n in (1, 2, 7, 39):  # fewer replicates are the first ones, also when their number is odd
        np.testing.assert_array_equal(poisson_weights(USERS[17:18], n, seed=3), every[17:18, :n])


def test_the_words_of_a_known_user_never_change():
    # worked out with Python's unbounded integers, reduced modulo 2**64
    def mixed(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    golden, user, seed = 0x9E3779B97F4A7C15, int(user_keys(["ann"])[0]), 11
    start = mixed(seed + golden)
    words = []
    for pair in (1, 2):
        word = mixed(mixed(user ^ start) ^ mixed((start + pair * golden) % 2**64))
        words += [word % 2**32, word >> 32]
    assert random_words(user_keys(["ann"]), 4, seed=11).tolist() == [words]


def test_the_mixing_function_is_that_of_the_published_generator():
    # splitmix64 seeded with 0 is the mixing of multiples of the golden ratio; its first output is published
    # (test vector of Vigna's reference implementation).
    assert int(user_keys(np.array([0]))[0]) == 0xE220A8397B1DCDAF


def test_words_are_uniform_in_every_bit_and_over_the_whole_range():
    words = random_words(USERS, 250, seed=5).ravel()
    n = len(words)
    for bit in range(32):
        share = ((words >> np.uint32(bit)) & np.uint32(1)).mean()
        assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(n), f"bit {bit}"
    counts = np.bincount(words >> np.uint32(22), minlength=1_024)
    assert stats.chisquare(counts).pvalue > 1e-4
    assert stats.kstest(words[:100_000] / 2.0**32, "uniform").pvalue > 1e-4


def test_weights_have_the_poisson_distribution():
    weights = poisson_weights(USERS, 250, seed=8)
    n = weights.size
    # mean 1, variance 1; the variance of a squared deviation of Poisson(1) is 1 + 2 = 3
    assert abs(weights.mean() - 1) < 4 / np.sqrt(n)
    assert abs(weights.var() - 1) < 4 * np.sqrt(3 / n)
    assert weights.max() <= MOST_WEIGHT
    expected = stats.poisson.pmf(np.arange(8), 1.0) * n
    observed = np.array([(weights == k).sum() for k in range(8)], dtype=float)
    tail = stats.poisson.sf(7, 1.0) * n
    found = stats.chisquare(np.append(observed, (weights >= 8).sum()), np.append(expected, tail))
    assert found.pvalue > 1e-4


@pytest.mark.parametrize("lag", [1, 2, 3, 64])
def test_weights_of_neighbouring_users_and_replicates_are_uncorrelated(lag):
    weights = poisson_weights(USERS, 128, seed=2) - 1.0
    for pairs in (weights[lag:] * weights[:-lag], weights[:, lag:] * weights[:, :-lag]):
        assert abs(pairs.mean()) < 4 / np.sqrt(pairs.size)


def test_two_replicates_that_share_a_hash_are_independent_in_all_cells():
    weights = np.minimum(poisson_weights(USERS, 100, seed=4), 3).astype(int)
    table = np.zeros((4, 4))
    np.add.at(table, (weights[:, ::2].ravel(), weights[:, 1::2].ravel()), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_another_seed_gives_weights_that_have_nothing_to_do_with_these():
    first, second = (poisson_weights(USERS, 100, seed=seed) - 1.0 for seed in (0, 1))
    assert abs((first * second).mean()) < 4 / np.sqrt(first.size)
    assert (first != second).any(axis=1).all()


def test_sums_over_users_vary_as_a_poisson_bootstrap_should():
    # The variance over resamples of a sum of w_u x_u is the sum of x_u squared.
    x = np.random.default_rng(1).lognormal(size=len(USERS))
    totals = x @ poisson_weights(USERS, 2_000, seed=6)
    assert totals.var() / (x @ x) == pytest.approx(1, abs=4 * np.sqrt(2 / 2_000))
    assert stats.kstest((totals - x.sum()) / np.sqrt(x @ x), "norm").pvalue > 1e-4


def test_buckets_hold_equal_numbers_of_users_whatever_their_names():
    keys = user_keys([f"user-{i}" for i in range(200_000)])
    counts = np.bincount(bucket_of(keys).astype(np.int64), minlength=N_BUCKETS)
    assert len(counts) == N_BUCKETS
    assert stats.chisquare(counts).pvalue > 1e-4
    numbers = np.bincount(bucket_of(user_keys(np.arange(200_000))).astype(np.int64), minlength=N_BUCKETS)
    assert stats.chisquare(numbers).pvalue > 1e-4


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="n_replicates: expected at least 1, got 0"):
        poisson_weights(USERS, 0, seed=1)
    with pytest.raises(ValueError, match=r"seed: expected a number in \[0, 2\*\*63\), got -1"):
        random_words(USERS, 1, seed=-1)
    with pytest.raises(ValueError, match="users: expected names or whole numbers, got float64"):
        user_keys(np.array([1.5]))
