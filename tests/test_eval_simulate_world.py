"""The simulated world before anybody looks at it: numbers, draws, people, posts and candidates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from eval.simulate.draws import generator, key, normal, poisson_counts, root_key, uniform
from eval.simulate.parameters import ACTIONS, DEFAULT, HARMS, MARKS, load_parameters
from eval.simulate.world import (
    FRIEND,
    GROUP,
    PAGE,
    STRANGER,
    draw_candidates,
    kumaraswamy,
    make_posts,
    make_publishers,
    make_users,
)

P = load_parameters()
PUBLISHERS = make_publishers(P, 3)
USERS = make_users(P, PUBLISHERS, 120, 3)
RATE = np.full(120, 0.8)
SHARE = np.full(P.n_publishers, 0.6)
POSTS = make_posts(P, (PUBLISHERS, USERS), (SHARE, RATE), 5, 3)


def world_file(folder: Path, old: str, new: str) -> Path:
    text = DEFAULT.read_text("utf-8")
    assert old in text
    path = folder / "world.toml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    return path


def test_every_number_of_the_shipped_world_says_where_it_is_from() -> None:
    assert set(P.marks.values()) == set(MARKS)
    assert {name for name in P.marks if name.startswith("action_base.")} == {
        f"action_base.{a}" for a in ACTIONS
    }
    assert "publishers.gain" in P.marked("fitted")
    assert "response.word_rate_ratio" in P.marked("documented")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('n_slots = [10, "assumed"', 'n_slots = [10, "guessed"', "n_slots: expected"),
        ('like = [-3.4, "assumed"]', "like = -3.4", "action_base.like: expected"),
        ('like = [-3.4, "assumed"]', 'lik = [-3.4, "assumed"]', "action_base: expected each action once"),
        ("posts_like = [0.03", "posts_liked = [0.03", "posts_liked: expected a name"),
        ("n_waves = [3", "n_waves = [2.5", "n_waves: expected a count"),
        ("n_slots = [10", "n_slots = [1000", "n_slots: expected at most 40"),
        ("noise_seen = [0.8", "noise_seen = [1.8", "noise_seen: expected a number in"),
        ("schema = 1", "schema = 2", "schema: expected 1"),
        ("[sizes]", "[sizes", "expected TOML"),
    ],
)
def test_a_world_file_that_is_wrong_is_refused_by_name(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_parameters(world_file(tmp_path, old, new))


def test_a_world_file_that_lacks_a_number_names_it(tmp_path: Path) -> None:
    line = next(one for one in DEFAULT.read_text("utf-8").splitlines() if one.startswith("return_harm"))
    with pytest.raises(ValueError, match="return_harm"):
        load_parameters(world_file(tmp_path, line, ""))


def test_draws_are_uniform_and_normal_and_depend_on_their_key_alone() -> None:
    root = root_key(7, 1, 2)
    keys = [np.uint64(key(root, i)) for i in range(20_000)]
    u = np.array([uniform(one) for one in keys])
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    z = np.array([normal(one) for one in keys])
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / len(z))
    assert np.abs(z).max() < 3.47
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 4 / np.sqrt(len(z))
    assert root_key(7, 1, 2) == root
    assert len({int(root_key(7, 1, 2)), int(root_key(7, 2, 1)), int(root_key(8, 1, 2))}) == 3
    with pytest.raises(ValueError, match="seed"):
        root_key(-1)


def test_poisson_counts_are_the_quantiles_of_scipy_cut_at_the_top() -> None:
    rng = generator(1, 2)
    u, mean = rng.random(5_000), rng.gamma(1.0, 1.0, 5_000)
    expected = np.minimum(stats.poisson.ppf(u, mean), 4)
    np.testing.assert_array_equal(poisson_counts(u, mean, 4), expected)


def test_closeness_to_the_line_has_the_distribution_it_says() -> None:
    u = np.linspace(0.001, 0.999, 999)
    a, b = P.line_negative
    x = kumaraswamy(u, P.line_negative)
    np.testing.assert_allclose(1 - (1 - x**a) ** b, u, atol=1e-12)


def test_harms_rise_towards_the_line() -> None:
    order = np.argsort(POSTS.line)
    low, high = order[: len(order) // 4], order[-len(order) // 4 :]
    assert (POSTS.harm[high].mean(axis=0) > 5 * POSTS.harm[low].mean(axis=0)).all()
    assert POSTS.harm.shape[1] == len(HARMS)
    assert ((POSTS.harm > 0) & (POSTS.harm < 1)).all()


def test_posts_beyond_the_line_are_removed_at_the_stated_recall() -> None:
    theirs = np.arange(len(POSTS.line)) < POSTS.first_of_users
    beyond, removed = 0, 0
    for week in range(12):
        posts = make_posts(P, (PUBLISHERS, USERS), (np.ones(P.n_publishers), RATE), week, 3)
        caught = theirs & (posts.line >= 1)
        beyond, removed = beyond + int(caught.sum()), removed + int((caught & ~posts.there).sum())
        assert posts.there[theirs & (posts.line < 1)].all()
    error = np.sqrt(P.removal_recall * (1 - P.removal_recall) / beyond)
    assert abs(removed / beyond - P.removal_recall) < 4 * error


def test_another_history_changes_no_draw_of_the_inventory() -> None:
    other = make_posts(P, (PUBLISHERS, USERS), (np.full(P.n_publishers, 0.5), RATE), 5, 3)
    np.testing.assert_array_equal(other.topic, POSTS.topic)
    same = other.negative == POSTS.negative
    assert 0.85 < same.mean() < 1
    assert not (other.negative & ~POSTS.negative).any()  # a smaller share makes no post negative
    np.testing.assert_array_equal(other.line[same], POSTS.line[same])
    np.testing.assert_array_equal(other.harm[same], POSTS.harm[same])


def test_the_same_seed_gives_the_same_people_and_another_seed_others() -> None:
    again = make_users(P, make_publishers(P, 3), 120, 3)
    for first, second in zip(USERS, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(make_users(P, PUBLISHERS, 120, 4).topic, USERS.topic)


def test_people_follow_and_know_their_like_and_nobody_twice() -> None:
    for ties in (USERS.friends, USERS.group):
        assert all(len(set(row)) == len(row) for row in ties.tolist())
        assert (ties != np.arange(120)[:, None]).all()
    taste = (USERS.topic @ PUBLISHERS.topic.T)[np.arange(120)[:, None], USERS.followed]
    assert taste.mean() > 0.2  # strangers have 0
    with pytest.raises(ValueError, match="n_users"):
        make_users(P, PUBLISHERS, 10, 3)


def test_candidates_are_distinct_there_and_of_the_relation_they_say() -> None:
    rows, relation = draw_candidates(P, USERS, POSTS, root_key(3, 9))
    assert all(len(set(row)) == len(row) for row in rows.tolist())
    assert POSTS.there[rows].all()
    for i in range(120):
        author = (rows[i] - POSTS.first_of_users) // P.posts_per_user
        assert np.isin(author[relation[i] == FRIEND], USERS.friends[i]).all()
        assert np.isin(author[relation[i] == GROUP], USERS.group[i]).all()
        page = rows[i][relation[i] == PAGE] // P.posts_per_publisher
        assert np.isin(page, USERS.followed[i]).all()
        assert (rows[i][relation[i] == STRANGER] < POSTS.first_of_users).all()
    assert (relation == PAGE).sum(axis=1).max() <= P.from_followed
    assert (relation == FRIEND).any()


def test_a_world_with_too_few_posts_is_refused() -> None:
    p = replace(P, n_publishers=5, posts_per_publisher=4, n_followed=5)
    publishers = make_publishers(p, 1)
    users = make_users(p, publishers, 60, 1)
    posts = make_posts(p, (publishers, users), (np.full(5, 0.5), np.full(60, 0.8)), 0, 1)
    with pytest.raises(ValueError, match="posts: expected at least 40"):
        draw_candidates(p, users, posts, root_key(1, 1))
