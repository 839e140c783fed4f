"""Pools and the reach that rankings give: mixes as asked for, no reward where tones draw people alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.simulate.market import ACTS, MARKET, load_market
from eval.simulate.pools import TURNS, draw_pools, feed_of, harms_of, tone_effect
from eval.simulate.reach import PARTY, PEOPLE, RIVAL, left_out, measure_reach, people_views, tally
from eval.simulate.two_parties import measure_rivalry
from reranker.presets import load_policy

M = load_market()
ALIKE = replace(
    M,
    line_negative=M.line_other,
    words_negative=0.0,
    labels={name: (a, b, 0.0) for name, (a, b, _) in M.labels.items()},
)
MSI = load_policy("fb-2018-h1")


@pytest.fixture(scope="module")
def pools():
    return draw_pools(M, n_requests=200, seed=3)


def test_pages_draw_the_mix_of_acts_that_the_file_says(pools) -> None:
    negative = pools.tones((M.share_before, M.share_before))
    rate = np.where(negative, pools.rates[1], pools.rates[0])[:, pools.page]
    per_like = dict(zip(ACTS, rate.mean(axis=1) / rate[0].mean(), strict=True))
    for act in ("love", "comment", "reshare", "hide"):
        assert per_like[act] == pytest.approx(M.page_mix[act], rel=0.08)
    assert per_like["angry"] == pytest.approx(M.page_mix["angry"], rel=0.3)  # a few posts draw most


def test_negative_posts_draw_what_their_lines_and_words_say(pools) -> None:
    for act in ("like", "comment", "reshare"):
        row = ACTS.index(act)
        expected = tone_effect(M, act, negative=True) / tone_effect(M, act, negative=False)
        found = pools.rates[1, row].mean() / pools.rates[0, row].mean()
        assert found == pytest.approx(expected, rel=0.03)
    assert tone_effect(M, "like", negative=True) < tone_effect(M, "like", negative=False)
    # 0.8 words more at 12 % each, beside the line: exp(0.8 * 0.12)
    without = replace(M, words_negative=0.0)
    ratio = tone_effect(M, "reshare", negative=True) / tone_effect(without, "reshare", negative=True)
    assert ratio == pytest.approx(np.exp(0.8 * 0.12))


@pytest.mark.parametrize("spec", ["chronological", "uniform", "original"])
def test_an_order_that_knows_no_tone_rewards_none(pools, spec) -> None:
    gap = measure_reach(pools, load_policy(spec), spec, (0.1, 0.25, 0.5, 0.75)).gap
    # over the turns each post is as often of either tone as any other, but not at a tenth
    np.testing.assert_allclose(gap[1:], 0.0, atol=1e-12)
    assert 0 < abs(gap[0]) < 0.15


@pytest.mark.parametrize("spec", ["fb-2018-h1", "harm-aware", "twitter-2023"])
def test_tones_that_draw_people_alike_are_rewarded_alike(spec) -> None:
    same = draw_pools(ALIKE, n_requests=60, seed=1)
    gap = measure_reach(same, load_policy(spec), spec, (0.25, 0.5, 0.75)).gap
    np.testing.assert_allclose(gap, 0.0, atol=1e-9)


def test_a_weight_on_what_negative_posts_draw_rewards_them(pools) -> None:
    gaps = [
        measure_reach(pools, load_policy("fb-2018-h1", settings), "x", (0.3, 0.5, 0.8)).gap[1]
        for settings in (["weights.angry=-20"], ["weights.angry=0"], [], ["weights.angry=50"])
    ]
    assert gaps == sorted(gaps)
    assert gaps[-1] > gaps[0] + 0.1
    assert measure_reach(pools, load_policy("harm-aware"), "x", (0.3, 0.5, 0.8)).gap[1] < 0


def test_every_place_is_seen_once_whatever_the_policy(pools) -> None:
    per_request = ((1 - M.reading_on**M.n_candidates) / (1 - M.reading_on)) * TURNS * pools.n_requests
    for spec in ("fb-2018-h1", "chronological", "twitter-2023"):
        found = tally(pools, load_policy(spec), (0.3, 0.7))
        assert found[..., 0].sum() == pytest.approx(per_request)
        assert found[..., 1].sum() == TURNS * pools.feed.n
        shares = found[..., 1].sum(axis=0)
        assert shares[PARTY, 1] / shares[PARTY].sum() == pytest.approx(0.3, abs=0.03)
        assert shares[RIVAL, 1] / shares[RIVAL].sum() == pytest.approx(0.7, abs=0.03)
        assert shares[PEOPLE, 1] / shares[PEOPLE].sum() == pytest.approx(M.user_negative, abs=0.03)


def test_signals_are_called_as_the_policy_expects_them(pools) -> None:
    negative = pools.tones((0.5, 0.5))
    counts = feed_of(pools, MSI, negative).signals
    chances = feed_of(pools, load_policy("x-2026"), negative).signals
    assert counts.kind == "counts"
    assert chances.kind == "probabilities"
    talk = counts.counted("comment") + counts.counted("significant_comment")
    np.testing.assert_allclose(chances.counted("reply") * M.audience, talk)
    assert harms_of(pools, negative).posts.labels == tuple(M.labels)


def test_what_a_rival_provokes_rewards_attacks_and_nobody_is_favoured_for_a_name() -> None:
    calm = measure_rivalry(draw_pools(replace(M, provocation=0.0), n_requests=60, seed=5), MSI, "calm")
    angry = measure_rivalry(draw_pools(replace(M, provocation=1.5), n_requests=60, seed=5), MSI, "angry")
    half, most = np.array([0.5]), np.array([0.97])
    assert angry.gap_at(half, half) == pytest.approx(calm.gap_at(half, half))  # where the mix was read
    assert angry.gap_at(half, most)[0] > calm.gap_at(half, most)[0] + 0.1
    assert calm.reach_at(0.5, 0.5) == pytest.approx(1.0)
    assert calm.reach_at(0.25, 0.75) < 1 < calm.reach_at(0.75, 0.25)  # more of what is rewarded reaches more


def test_batches_left_out_agree_with_the_whole(pools) -> None:
    reach = measure_reach(pools, MSI, "fb-2018-h1", (0.3, 0.5, 0.8))
    np.testing.assert_allclose(reach.batches.mean(axis=0), reach.gap, atol=0.02)
    one = left_out(reach, 3)
    np.testing.assert_allclose(one.gap, reach.batches[3])
    assert reach.gap_at(0.5) == pytest.approx(reach.gap[1])
    assert reach.gap_at(0.0) == pytest.approx(reach.gap[0])
    assert 0.5 < reach.negative_views_at(0.5) < 0.8
    assert people_views(reach, 0.3) == pytest.approx(reach.people[0])


def test_the_same_seed_draws_the_same_pools() -> None:
    first, second, other = (draw_pools(M, n_requests=20, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.rates, second.rates)
    assert not np.array_equal(first.rates, other.rates)
    with pytest.raises(ValueError, match="requests: expected at least 2"):
        draw_pools(M, n_requests=1, seed=0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema: expected 1"),
        ("share_after = [0.8", "share_after = [1.0", "share_after: expected a number between 0 and 1"),
        ("share_after = [0.8", "share_after = [0.5", "nothing to fit to"),
        ("spread = [0.5", "spred = [0.5", 'expected a name of the market, once.*"spread"'),
        ("spread = [0.5", "spread = [-0.5", "spread: expected a finite number of at least 0"),
        ("n_page = [18", "n_page = [1.5", "n_page: expected a count"),
        ("n_page = [18", "n_page = [1", "n_page: expected at least 2"),
        ("live = [0.05", "live = [1.5", r"live: expected a number in \[0, 1\]"),
        ("line_other = [[1.0, 7.0]", "line_other = [[1.0]", "line_other: expected 2 numbers"),
        ("haha = [0.058", "hehe = [0.058", "page_mix: expected love"),
        ("haha = [0.058", "haha = [-0.058", "page_mix.haha: expected a number of at least 0"),
        ("toxicity = [[1.5", "niceness = [[1.5", "labels: expected toxicity.*niceness"),
        ('[0.8, "documented"', '[0.8, "guessed"', r"share_after: expected \[value"),
        ("[calibration]\n", "", "expected a table"),
        ("attention = [0.5", "# attention = [0.5", "got none for attention"),
        ("schema = 1", "schema = ", "expected TOML"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(old, new, message, tmp_path: Path) -> None:
    text = MARKET.read_text("utf-8")
    assert old in text
    path = tmp_path / "market.toml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ValueError, match=message):
        load_market(path)
