"""Plackett-Luce draws against all permutations, and exploration as a part of the one path."""

from itertools import pairwise, permutations
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.scores import HarmScores
from reranker.assembly import feed_from_columns
from reranker.cli import main
from reranker.columns import FeedError
from reranker.draw_kernel import write_uniforms
from reranker.exploration import (
    log_prefix_propensity,
    log_slot_propensity,
    request_keys,
    sample_rankings,
    slot_marginals,
)
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import PolicyError
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.results import write_ranking
from reranker.value import Harms
from reranker.writing import write_feed

LOGITS = np.array([2.0, 1.0, 0.0])
ONE = np.array([0, 3])
scores = st.lists(st.floats(-20, 20), min_size=1, max_size=6)
temperatures = st.floats(0.05, 10)


def by_hand(score: Any, slate: tuple[int, ...], temperature: float) -> list[float]:
    """The probability of each prefix, one softmax over the candidates left after another."""
    left, probability, prefixes = list(range(len(score))), 1.0, []
    for item in slate:
        top = max(score[i] for i in left)
        mass = sum(exp((score[i] - top) / temperature) for i in left)
        probability *= exp((score[item] - top) / temperature) / mass
        left.remove(item)
        prefixes.append(probability)
    return prefixes


def prefixes_of(score: Any, slate: Any, temperature: float, **options: Any) -> list[float]:
    score, slate = np.array(score), np.array(slate)
    offsets, slots = np.array([0, len(score)]), np.array([0, len(slate)])
    return log_prefix_propensity(score, offsets, slate, slots, temperature, **options).tolist()


def ragged(sizes: list[int]) -> Any:
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)


def test_the_worked_example_of_three_candidates() -> None:
    """D3: P(b then a) for logits 2, 1, 0, and who stands where."""
    assert np.exp(prefixes_of(LOGITS, [1, 0], 1.0)) == pytest.approx(
        [0.244728471055, 0.215556122203], abs=1e-12
    )
    expected = [
        [0.665240955775, 0.244728471055, 0.090030573170],
        [0.281373745058, 0.510543057890, 0.208083197051],
    ]
    assert slot_marginals(LOGITS, 1.0, 2) == pytest.approx(np.array(expected), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(scores, temperatures, st.data())
def test_prefixes_have_the_probability_that_softmax_after_softmax_gives(
    score: list[float], temperature: float, data: Any
) -> None:
    slate = data.draw(st.permutations(range(len(score))))[: data.draw(st.integers(1, len(score)))]
    expected = by_hand(score, tuple(slate), temperature)
    assert np.exp(prefixes_of(score, slate, temperature)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@settings(deadline=None, max_examples=30)
@given(scores, temperatures, st.integers(1, 4))
def test_the_probabilities_of_all_slates_add_up_to_one(
    score: list[float], temperature: float, k: int
) -> None:
    slates = list(permutations(range(len(score)), min(k, len(score))))
    total = sum(exp(prefixes_of(score, slate, temperature)[-1]) for slate in slates)
    assert total == pytest.approx(1.0, abs=1e-10)


@settings(deadline=None, max_examples=30)
@given(scores, temperatures, st.integers(1, 4))
def test_marginals_are_sums_over_all_slates(score: list[float], temperature: float, k: int) -> None:
    k = min(k, len(score))
    expected = np.zeros((k, len(score)))
    for slate in permutations(range(len(score)), k):
        probability = by_hand(score, slate, temperature)[-1]
        for slot, item in enumerate(slate):
            expected[slot, item] += probability
    found = slot_marginals(np.array(score), temperature, k)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found.sum(axis=1) == pytest.approx(np.ones(k))
    slate = np.arange(k)
    served = log_slot_propensity(
        np.array(score), np.array([0, len(score)]), slate, np.array([0, k]), temperature
    )
    assert np.exp(served) == pytest.approx(np.diag(expected), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=8), st.sampled_from([1e-300, 1e-3, 1.0, 1e300])
)
def test_propensities_never_rise_along_a_slate_and_are_never_nan(
    score: list[float], temperature: float
) -> None:
    found = prefixes_of(score, list(range(len(score)))[::-1], temperature)
    assert not np.isnan(found).any()
    assert all(later <= earlier <= 0.0 for earlier, later in zip([0.0, *found], found, strict=False))


def test_a_dominating_candidate_leaves_exact_numbers_behind() -> None:
    """Logits 1000, 0, -1000 in reverse: -2000, then -1000 more, then certain. A difference gives NaN."""
    assert prefixes_of([1000.0, 0.0, -1000.0], [2, 1, 0], 1.0) == [-2000.0, -3000.0, -3000.0]
    assert prefixes_of([1000.0, 0.0, 0.0], [0, 1, 2], 1.0) == pytest.approx([0.0, -log(2), -log(2)])
    assert np.isfinite(slot_marginals(np.array([1000.0, 0.0, -1000.0]), 1.0, 3)).all()
    assert slot_marginals(np.array([1000.0, 0.0, 0.0]), 1.0, 2)[1] == pytest.approx([0.0, 0.5, 0.5])


def test_the_noise_is_that_of_numpys_philox() -> None:
    for seed, key, n in ((0, 0, 1), (5, 2**63 + 7, 11), (2**64 - 1, 2**64 - 1, 8)):
        out = np.empty(n)
        write_uniforms(np.uint64(seed), np.uint64(key), out)
        words = np.random.Philox(key=np.array([seed, key], dtype=np.uint64)).random_raw(n)
        assert np.array_equal(out, ((words >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53)


def test_slates_are_drawn_as_often_as_their_probability_says() -> None:
    """12 slates of 2 of 4 candidates in 20,000 requests; chi-square against the exact probabilities."""
    n, score, temperature = 20_000, [1.0, 0.0, 0.5, 0.0], 0.7
    keys = np.arange(n, dtype=np.uint64)
    drawn, _ = sample_rankings(
        np.tile(score, n), np.arange(n + 1) * 4, temperature, 2, seed=3, request_key=keys
    )
    code = (drawn % 4).reshape(n, 2) @ [4, 1]
    slates = list(permutations(range(4), 2))
    expected = [n * by_hand(score, slate, temperature)[-1] for slate in slates]
    observed = [int((code == 4 * a + b).sum()) for a, b in slates]
    assert chisquare(observed, expected).pvalue > 1e-4


def test_equal_scores_are_drawn_evenly_however_large_they_are() -> None:
    """Added to 1e17, the noise would be rounded away, and the first of two equals would always win."""
    n = 4_000
    keys = np.arange(n, dtype=np.uint64)
    drawn, _ = sample_rankings(
        np.tile([2e17, 1e17, 1e17], n), np.arange(n + 1) * 3, 1.0, 2, seed=0, request_key=keys
    )
    second = (drawn % 3).reshape(n, 2)[:, 1]
    assert abs((second == 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(n)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 2**63), st.data())
def test_a_request_gets_the_same_slate_in_any_partition_and_order(
    sizes: list[int], seed: int, data: Any
) -> None:
    rng = np.random.default_rng(0)
    offsets, keys = ragged(sizes), rng.integers(0, 2**63, len(sizes)).astype(np.uint64)
    score = rng.normal(size=sum(sizes))

    def draw(requests: list[int]) -> list[list[int]]:
        rows = [np.arange(offsets[r], offsets[r + 1]) for r in requests]
        taken = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        cut = ragged([sizes[r] for r in requests])
        slate, slots = sample_rankings(score[taken], cut, 0.8, 3, seed=seed, request_key=keys[requests])
        probability = log_prefix_propensity(score[taken], cut, slate, slots, 0.8)
        whole = [(slate - cut[:-1].repeat(np.diff(slots))).tolist(), probability.tolist()]
        return [[part[a:b] for part in whole] for a, b in pairwise(slots)]

    whole = draw(list(range(len(sizes))))
    order = data.draw(st.permutations(range(len(sizes))))
    assert [draw([r])[0] for r in order] == [whole[r] for r in order] == draw(list(order))


def test_seed_and_key_both_change_the_draw() -> None:
    n, score = 200, np.zeros(600)

    def draw(seed: int, first_key: int) -> list[int]:
        keys = np.arange(first_key, first_key + n, dtype=np.uint64)
        return sample_rankings(score, np.arange(n + 1) * 3, 1.0, 3, seed=seed, request_key=keys)[0].tolist()

    assert draw(1, 0) == draw(1, 0)
    assert draw(1, 0) != draw(2, 0)
    assert draw(1, 0) != draw(1, 1000)
    assert draw(-1, 0) == draw(2**64 - 1, 0)


def test_temperature_zero_is_the_order_of_scores_with_certainty() -> None:
    score, offsets = np.array([1.0, 3.0, 3.0, 2.0, 7.0]), np.array([0, 4, 4, 5])
    slate, slots = sample_rankings(score, offsets, 0.0, 3, seed=9, request_key=request_keys("abc"))
    assert (slate.tolist(), slots.tolist()) == ([1, 2, 3, 4], [0, 3, 3, 4])
    assert log_prefix_propensity(score, offsets, slate, slots, 0.0).tolist() == [0.0] * 4
    assert prefixes_of(score[:4], [1, 3, 2], 0.0) == [0.0, -np.inf, -np.inf]
    assert slot_marginals(score[:4], 0.0, 2).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_ranks_above_the_first_drawn_one_are_certain_and_the_rest_a_draw_of_their_own() -> None:
    score = [0.0, 3.0, 1.0, 2.0]
    head, *tail = prefixes_of(score, [1, 2, 0], 0.5, from_rank=2)
    assert head == 0.0
    assert np.exp(tail) == pytest.approx(by_hand([0.0, 1.0, 2.0], (1, 0), 0.5))
    assert prefixes_of(score, [3, 1], 0.5, from_rank=2) == [-np.inf, -np.inf]


def test_every_request_may_have_a_temperature_of_its_own() -> None:
    score, offsets = np.tile(LOGITS, 3), np.array([0, 3, 6, 9])
    slate, slots = np.array([1, 0, 4, 3, 7, 6]), np.array([0, 2, 4, 6])
    found = log_prefix_propensity(score, offsets, slate, slots, np.array([1.0, 0.0, 2.0]))
    assert found[:2].tolist() == prefixes_of(LOGITS, [1, 0], 1.0)
    assert found[2:4].tolist() == [-np.inf, -np.inf]
    assert found[4:].tolist() == prefixes_of(LOGITS, [1, 0], 2.0)


def test_bad_input_is_refused_with_its_place() -> None:
    keys = request_keys("a")
    with pytest.raises(ValueError, match=r"score: expected finite numbers, got nan at row 1"):
        sample_rankings(np.array([0.0, np.nan, 1.0]), ONE, 1.0, 2, seed=0, request_key=keys)
    with pytest.raises(ValueError, match=r"offsets: expected 0 first, never falling, 3 last"):
        sample_rankings(LOGITS, np.array([0, 2]), 1.0, 2, seed=0, request_key=keys)
    with pytest.raises(
        ValueError, match=r"temperature: expected a finite number >= 0, got -1.0 at request 0"
    ):
        sample_rankings(LOGITS, ONE, -1.0, 2, seed=0, request_key=keys)
    with pytest.raises(ValueError, match=r"temperature: expected one number or 1, got 2"):
        sample_rankings(LOGITS, ONE, np.ones(2), 2, seed=0, request_key=keys)
    with pytest.raises(ValueError, match=r"n_slots: expected at least 1, got 0"):
        sample_rankings(LOGITS, ONE, 1.0, 0, seed=0, request_key=keys)
    with pytest.raises(ValueError, match=r"request_key: expected 1 keys, got 2"):
        sample_rankings(LOGITS, ONE, 1.0, 2, seed=0, request_key=request_keys("ab"))
    with pytest.raises(ValueError, match=r"slate: expected a row from 0 to 2, got 3 at slot 1"):
        prefixes_of(LOGITS, [0, 3], 1.0)
    with pytest.raises(ValueError, match=r"slate: expected each row once, got row 1 twice"):
        prefixes_of(LOGITS, [1, 1], 1.0)
    with pytest.raises(ValueError, match=r"slot_offsets: expected 2 numbers, 0 first, never falling, 1 last"):
        log_prefix_propensity(LOGITS, ONE, np.array([1]), np.array([0, 2]), 1.0)
    with pytest.raises(ValueError, match=r"from_rank: expected at least 1, got 0"):
        prefixes_of(LOGITS, [1], 1.0, from_rank=0)
    with pytest.raises(
        ValueError, match=r"marginals: expected at most 12 candidates and 4 slots, got 13 and 2"
    ):
        slot_marginals(np.zeros(13), 1.0, 2)
    with pytest.raises(ValueError, match=r"temperature: expected more than 0 for marginals, got 0"):
        log_slot_propensity(LOGITS, ONE, np.array([1]), np.array([0, 1]), 0.0)


# Exploration as a section of a policy


def feed_of(n_requests: int = 40, **columns: Any) -> Feed:
    likes = [9, 6, 5, 4, 1]
    posts = [f"p{i}" for _ in range(n_requests) for i in range(5)]
    requests = [f"r{r}" for r in range(n_requests) for _ in range(5)]
    users = [f"u{r}" for r in range(n_requests) for _ in range(5)]
    given = {"request_id": requests, "user": users, "post_id": posts, "like": likes * n_requests}
    return feed_from_columns(given | columns)


def ranked(feed: Feed, *more: str, policy: str = "fb-2017") -> Ranking:
    settings_ = ["exploration.temperature=3", "exploration.from_rank=2", "exploration.n_slots=3", *more]
    return Reranker(load_policy(policy, settings_)).rank(feed)


def test_a_policy_without_exploration_draws_nothing_and_keeps_its_digest() -> None:
    """The digests that these policies had before the section existed."""
    assert load_policy("fb-2018-h1").digest.startswith("a1149cde187377fd")
    assert load_policy("harm-aware").digest.startswith("39498a485085d07a")
    assert Reranker(load_policy("fb-2017")).rank(feed_of(2)).log_prefix_propensity is None


def test_the_ranks_asked_for_are_drawn_and_their_probability_is_exact() -> None:
    feed = feed_of()
    ranking = ranked(feed)
    found = ranking.log_prefix_propensity
    assert found is not None
    assert ranking.position.reshape(-1, 5)[:, 0].tolist() == [0] * 40  # rank 1 is not drawn
    assert len({tuple(ranking.ids(r)) for r in range(40)}) > 5
    for r in range(40):
        order = ranking.order[5 * r : 5 * r + 5]
        places = [int(row) % 5 for row in order]
        score = ranking.score[5 * r + 1 : 5 * r + 5]
        drawn = by_hand(score, tuple(i - 1 for i in places[1:3]), 3.0)
        assert np.exp(found[order]) == pytest.approx([1.0, *drawn, drawn[-1], drawn[-1]])
        assert places[3] < places[4]  # below the last drawn rank the order stays


def test_draws_follow_the_seed_of_the_policy() -> None:
    feed = feed_of()
    again, other = ranked(feed), ranked(feed, "score.seed=1")
    assert again.order.tolist() == ranked(feed).order.tolist()
    assert again.order.tolist() != other.order.tolist()
    assert again.policy.digest != other.policy.digest


def test_a_batch_is_drawn_as_its_parts_and_permuted_candidates_as_before() -> None:
    feed, whole = feed_of(), ranked(feed_of())
    assert whole.log_prefix_propensity is not None
    for r in (0, 17, 39):
        alone = ranked(feed.take(np.array([r])))
        assert alone.ids() == whole.ids(r)
        assert alone.log_prefix_propensity is not None
        part = whole.log_prefix_propensity[5 * r : 5 * r + 5]
        assert alone.log_prefix_propensity.tobytes() == part.tobytes()
    posts, likes = [f"p{i}" for _ in range(40) for i in (3, 0, 4, 2, 1)], [4, 9, 1, 5, 6] * 40
    turned = ranked(feed_of(post_id=posts, like=likes))
    assert [turned.ids(r) for r in range(40)] == [whole.ids(r) for r in range(40)]


def test_an_ever_lower_temperature_gives_the_order_of_the_scores() -> None:
    assert ranked(feed_of(), "exploration.temperature=1e-9").order.tolist() == list(range(200))


def test_held_out_requests_keep_their_order_with_certainty() -> None:
    turned = feed_of(original_position=[4, 3, 2, 1, 0] * 40)
    ranking = ranked(turned, "holdout.share=0.5")
    assert 5 < ranking.held_out.sum() < 35
    assert ranking.log_prefix_propensity is not None
    for r in np.flatnonzero(ranking.held_out).tolist():
        assert ranking.ids(r) == ["p4", "p3", "p2", "p1", "p0"]
        assert ranking.log_prefix_propensity[5 * r : 5 * r + 5].tolist() == [0.0] * 5
        assert not ranking.explain("p1", f"r{r}").explored
    drawn = [tuple(ranking.ids(r)) for r in np.flatnonzero(~ranking.held_out).tolist()]
    assert len(set(drawn)) > 2


def test_an_explanation_says_that_a_position_was_drawn() -> None:
    ranking = ranked(feed_of(), "exploration.temperature=50")
    moved = next(r for r in range(40) if ranking.ids(r)[1] == "p3")
    found = ranking.explain("p3", f"r{moved}")
    assert found.explored
    assert "number 2 of 5, drawn by chance (number 4 by its score alone): " in found.sentences[0]
    first = ranking.explain("p0", f"r{moved}")
    assert not first.explored
    assert "chance" not in first.sentences[0]


def test_the_file_of_a_ranking_has_the_propensity_of_each_prefix(tmp_path: Path) -> None:
    ranking = ranked(feed_of(3))
    write_ranking(ranking, tmp_path / "r.parquet")
    table = pq.read_table(tmp_path / "r.parquet")
    assert ranking.log_prefix_propensity is not None
    expected = ranking.log_prefix_propensity[ranking.order]
    assert table["log_prefix_propensity"].to_pylist() == expected.tolist()
    write_ranking(Reranker(load_policy("fb-2017")).rank(feed_of(3)), tmp_path / "r.parquet")
    assert "log_prefix_propensity" not in pq.read_table(tmp_path / "r.parquet").column_names


def test_the_command_line_draws_what_the_library_draws(tmp_path: Path) -> None:
    feed, written = feed_of(3), []
    write_feed(feed, tmp_path / "feed.parquet")
    for name in ("a", "b"):
        arguments = ["rank", str(tmp_path / "feed.parquet"), "-o", str(tmp_path / f"{name}.parquet")]
        more = [f"--set={one}" for one in ("exploration.temperature=3", "exploration.n_slots=3")]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--policy", "fb-2017", "--model", "none", *more])
        assert not ended.value.code
        written.append((tmp_path / f"{name}.parquet").read_bytes())
    table = pq.read_table(tmp_path / "a.parquet")
    expected = ranked(feed, "exploration.from_rank=1")
    assert table["post_id"].to_pylist() == [name for r in range(3) for name in expected.ids(r)]
    assert expected.log_prefix_propensity is not None
    logged = expected.log_prefix_propensity[expected.order]
    assert table["log_prefix_propensity"].to_pylist() == logged.tolist()
    assert written[0] == written[1]


def test_removed_posts_are_not_drawn_and_have_no_propensity() -> None:
    p = np.zeros((5, 1))
    p[1] = 0.9
    harms = Harms(HarmScores(("toxicity",), p, np.ones((5, 1)), "m"), np.full(5, np.nan))
    lines = "demotion.toxicity={start=0.1, line=0.3, removal=0.8}"
    policy = load_policy("fb-2017", [lines, "exploration.temperature=1e6"])
    ranking = Reranker(policy).rank(feed_of(1), harms)
    assert ranking.log_prefix_propensity is not None
    assert np.isnan(ranking.log_prefix_propensity).tolist() == [False, True, False, False, False]
    assert np.nanmin(ranking.log_prefix_propensity) == pytest.approx(-log(24), abs=1e-3)  # 4 posts, at random


def test_rules_that_a_draw_would_break_are_refused() -> None:
    for rule in ("author_cap", "max_demotion_positions"):
        with pytest.raises(PolicyError, match=rf"slate\.{rule}: expected none with exploration"):
            load_policy("fb-2017", ["exploration.temperature=1", f"slate.{rule}=2"])
    with pytest.raises(PolicyError, match=r"n_slots: expected at least from_rank \(5\), got 3"):
        load_policy("fb-2017", ["exploration={temperature=1, from_rank=5, n_slots=3}"])
    with pytest.raises(PolicyError, match=r"temperature: expected greater than 0, got 0"):
        load_policy("fb-2017", ["exploration.temperature=0"])
    replies = feed_of(1, parent_id=[None, "p0", None, None, None])
    with pytest.raises(
        FeedError, match=r"parent_id: expected no reply in a feed to explore, got one at row 1"
    ):
        ranked(replies, policy="harm-aware")
    assert ranked(replies, "slate.thread_order=false", policy="harm-aware").log_prefix_propensity is not None
