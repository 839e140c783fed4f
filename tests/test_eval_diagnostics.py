import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.diagnostics import diagnose, rank_biased_overlap, spearman
from eval.exposure import browsing
from reranker.assembly import feed_from_columns
from reranker.pipeline import Reranker
from reranker.presets import load_policy

PERMUTATIONS = st.lists(
    st.integers(1, 9).flatmap(lambda n: st.permutations(range(n))), min_size=1, max_size=4
)


def brute_rbo(first, second, p=0.9):
    """Equation 30 of Webber, Moffat and Zobel for two full lists."""
    n = len(first)
    a, b = np.argsort(first), np.argsort(second)
    overlap = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, n + 1)]
    return overlap[-1] * p**n + (1 - p) / p * sum(x * p**d for d, x in enumerate(overlap, 1))


@given(PERMUTATIONS)
def test_overlap_and_correlation_equal_brute_force_in_ragged_batches(permutations):
    first = np.concatenate([np.arange(len(one)) for one in permutations])
    second = np.concatenate([np.array(one) for one in permutations])
    offsets = np.cumsum([0, *map(len, permutations)])
    rbo, rho = rank_biased_overlap(first, second, offsets), spearman(first, second, offsets)
    for i, one in enumerate(permutations):
        assert rbo[i] == pytest.approx(brute_rbo(np.arange(len(one)), np.array(one)))
        if len(one) > 1:
            assert rho[i] == pytest.approx(stats.spearmanr(np.arange(len(one)), one).statistic)
        else:
            assert np.isnan(rho[i])


def test_removed_posts_and_empty_requests_are_no_part_of_either():
    offsets = np.array([0, 4, 4, 6])
    first, second = np.array([0, 1, 2, 3, 0, -1]), np.array([0, -1, 1, 2, -1, 0])
    assert spearman(first, second, offsets)[0] == 1.0
    assert np.isnan(spearman(first, second, offsets)[1:]).all()
    rbo = rank_biased_overlap(first, second, offsets)
    assert np.isnan(rbo[1])
    assert rbo[2] == 0.0
    assert 0.5 < rbo[0] < 1.0


def feed():
    return feed_from_columns(
        {
            "request_id": ["r"] * 4 + ["s"] * 2,
            "post_id": list("abcdef"),
            "like": [50, 10, 5, 0, 9, 1],
            "angry": [0, 0, 0, 20, 0, 0],
        }
    )


def test_what_differs_between_two_rankings_is_told_with_the_posts_that_moved():
    posts = feed()
    original = Reranker(load_policy("fb-2018-h1")).rank(posts)
    treatment = Reranker(load_policy("fb-2018-h1", ["weights.angry=0"])).rank(posts)
    assert original.ids() == list("dabc")
    assert treatment.ids() == list("abcd")
    found = diagnose(original, treatment, browsing("2"))
    assert found.n_requests == 2
    assert found.share_changed == found.share_top_changed == 0.5
    assert found.overlap_at_k == 0.75
    assert found.mean_move == pytest.approx((6 / 4 + 0) / 2)
    assert found.rank_correlation == pytest.approx(
        (stats.spearmanr(range(4), [3, 0, 1, 2]).statistic + 1) / 2
    )
    down = found.down[0]
    assert (down.post_id, down.request_id, down.original_rank, down.treatment_rank) == ("d", "r", 1, 4)
    assert [mover.post_id for mover in found.up] == ["a", "b"]  # c is in neither top


def test_equal_rankings_do_not_differ():
    ranking = Reranker(load_policy("fb-2018-h1")).rank(feed())
    found = diagnose(ranking, ranking, browsing("10%"))
    assert found.share_changed == found.share_top_changed == found.mean_move == 0.0
    assert found.overlap_at_k == found.rank_correlation == 1.0
    assert found.rbo == pytest.approx(1.0)
    assert found.up == found.down == ()


def test_a_feed_without_requests_has_no_diagnostics():
    empty = feed_from_columns({"request_id": [], "post_id": [], "like": []})
    ranking = Reranker(load_policy("fb-2018-h1")).rank(empty)
    found = diagnose(ranking, ranking, browsing("10%"))
    assert (found.n_requests, found.share_changed, found.rbo) == (0, None, None)
