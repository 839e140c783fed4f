import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.exposure import browsing, measure_exposure, position_weights, top_k
from reranker.assembly import feed_from_columns
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.ranking import Ranking

HARM = [0.9, 0.0, 0.5, 0.2, 0.0]


def ranked(likes: list[list[int]]) -> Ranking:
    """One request per list, the most liked first."""
    flat = [n for request in likes for n in request]
    feed = feed_from_columns(
        {
            "request_id": [f"r{i}" for i, request in enumerate(likes) for _ in request],
            "post_id": [f"p{i}" for i in range(len(flat))],
            "like": flat,
        }
    )
    return Reranker(load_policy("fb-2018-h1")).rank(feed)


def weights(spec: str, ranking: Ranking) -> np.ndarray:
    feed: Feed = ranking.feed
    return position_weights(browsing(spec), ranking.position, feed.request_of_row, feed.offsets)


@pytest.mark.parametrize(
    ("spec", "total", "weight", "per_1000"),
    [("rbp:0.8", 1.3224, 3.3616, 393.3841028), ("log2", 1.2361353117, 2.9484591189, 419.2479060)],
)
def test_published_numbers_of_two_browsing_models_are_met(spec, total, weight, per_1000):
    ranking = ranked([[5, 4, 3, 2, 1]])
    found = measure_exposure(ranking, weights(spec, ranking), np.array(HARM))
    assert found.total[0] == pytest.approx(total, abs=1e-9)
    assert found.weight[0] == pytest.approx(weight, abs=1e-9)
    assert 1000 * found.mean[0] == pytest.approx(per_1000, abs=1e-6)


def test_an_angry_sweep_by_hand_has_the_published_prevalence(tmp_path):
    # D2: five posts with probabilities, half the closeness for b, d and e; RBP 0.7
    shares = {
        "p_like": [0.060, 0.020, 0.010, 0.008, 0.030],
        "p_love": [0.020, 0.002, 0.001, 0.0, 0.004],
        "p_angry": [0.0, 0.004, 0.030, 0.050, 0.001],
        "p_comment": [0.004, 0.003, 0.004, 0.003, 0.002],
        "p_reshare": [0.001, 0.004, 0.008, 0.010, 0.001],
    }
    columns = {"request_id": ["r"] * 5, "post_id": list("ABCDE")}
    columns |= {"relation": ["friend", "stranger", "friend", "stranger", "stranger"]}
    columns |= {name.removeprefix("p_"): values for name, values in shares.items()}
    feed = feed_from_columns(columns, kind="probabilities")
    policy = tmp_path / "sweep.toml"
    policy.write_text(
        'schema = 1\nname = "sweep"\n[weights]\nlike = 1\nlove = 5\nangry = 5\ncomment = 30\nreshare = 5\n'
        "[relationship]\nfriend = 1\nstranger = 0.5\n"
    )
    harm = np.array([0.0, 0.05, 0.6, 0.9, 0.02])
    likes = np.array(shares["p_like"])
    expected = {5: ("CADBE", 383.3082110), 4: ("CADBE", 383.3082110), 1.5: ("ACDBE", 318.3989038)}
    for angry, (order, prevalence) in {**expected, 0: ("ACDBE", 318.3989038)}.items():
        ranking = Reranker(load_policy(str(policy), [f"weights.angry={angry}"])).rank(feed)
        assert "".join(ranking.ids()) == order
        weight = weights("rbp:0.7", ranking)
        assert 1000 * measure_exposure(ranking, weight, harm).mean[0] == pytest.approx(prevalence, abs=1e-6)
        total = measure_exposure(ranking, weight, likes).total[0]
        assert total == pytest.approx(0.069983 if order == "CADBE" else 0.084983, abs=1e-6)


def test_a_share_counts_whole_posts_and_at_least_the_minimum():
    n = np.array([0, 4, 50, 59, 60, 290, 1000])
    assert top_k(browsing("10%"), n).tolist() == [5, 5, 5, 5, 6, 29, 100]
    assert top_k(browsing("29%", minimum=1), np.array([100])).tolist() == [29]  # 0.29 * 100 < 29 in floats
    assert top_k(browsing("3"), np.array([1, 9])).tolist() == [3, 3]


@pytest.mark.parametrize(
    "spec", ["", "0", "-3", "0%", "101%", "ten", "rbp:1", "rbp:", "rbp:1/0", "log10", "1.5"]
)
def test_an_unknown_browsing_model_is_refused(spec):
    with pytest.raises(ValueError, match=r'expected "10%", "25", "rbp:0\.8" or "log2", got'):
        browsing(spec)


def test_a_post_without_a_value_is_left_out_and_bounded_never_taken_as_harmless():
    ranking = ranked([[5, 4, 3, 2], [3, 2, 1]])
    values = np.array([1.0, np.nan, 0.0, np.nan, np.nan, np.nan, np.nan])
    found = measure_exposure(ranking, weights("4", ranking), values)
    assert found.mean[0] == 0.5
    assert np.isnan(found.mean[1])
    assert (found.low[0], found.high[0]) == (0.25, 0.75)
    assert (found.low[1], found.high[1]) == (0.0, 1.0)
    assert found.n_unscored.tolist() == [2, 3]
    assert found.n_shown.tolist() == [4, 3]


def test_where_all_have_a_value_the_bounds_are_the_mean_itself():
    ranking = ranked([[5, 4, 3]])
    found = measure_exposure(ranking, weights("rbp:0.3", ranking), np.array([0.1, 0.2, 0.7]))
    assert found.low[0] == found.mean[0] == found.high[0]


def test_only_the_chosen_candidates_count():
    ranking = ranked([[5, 4, 3, 2]])
    among = np.array([False, True, True, False])
    found = measure_exposure(ranking, weights("4", ranking), np.array([1.0, 0.5, 0.1, 1.0]), among)
    assert found.mean[0] == pytest.approx(0.3)
    assert found.n_shown[0] == 2


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=8), min_size=1, max_size=5),
    st.sampled_from(["1", "3", "40%", "rbp:0.6", "log2"]),
)
def test_a_batch_equals_its_parts(likes, spec):
    rng = np.random.default_rng(sum(map(len, likes)))
    values = rng.random(sum(map(len, likes)))
    values[rng.random(len(values)) < 0.3] = np.nan
    whole = ranked(likes)
    found = measure_exposure(whole, weights(spec, whole), values)
    start = 0
    for i, request in enumerate(likes):
        part = ranked([request])
        alone = measure_exposure(part, weights(spec, part), values[start : start + len(request)])
        start += len(request)
        for name in ("mean", "total", "low", "high", "n_unscored"):
            np.testing.assert_allclose(getattr(found, name)[i], getattr(alone, name)[0])
