"""What people do: the compiled loops against plain formulas, and the laws that the assumptions promise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from eval.simulate.behaviour import (
    ANGRY,
    FIRST_ACTION,
    FIRST_HARM,
    OUTCOMES,
    SHARE,
    A,
    Pairs,
    Scene,
    answer_probabilities,
    answering_probability,
    draw_actions,
    draw_views,
    live,
    post_effect,
    post_rates,
    predict,
    remember,
    response_of,
    return_probability,
    seen_shares,
    true_effect,
    true_rates,
)
from eval.simulate.draws import key, normal, root_key
from eval.simulate.parameters import ACTIONS, Parameters, load_parameters
from eval.simulate.world import FRIEND, draw_candidates, make_posts, make_publishers, make_users

P = load_parameters()
SMALL = replace(P, n_publishers=24)


def scene_of(p: Parameters, n: int = 60, seed: int = 2) -> tuple[Scene, Pairs]:
    publishers = make_publishers(p, seed)
    users = make_users(p, publishers, n, seed)
    share, rate = np.full(p.n_publishers, 0.6), np.full(n, 0.8)
    posts = make_posts(p, (publishers, users), (share, rate), 0, seed)
    pairs = Pairs(*draw_candidates(p, users, posts, root_key(seed, 1)), root_key(seed, 2))
    return Scene(users, posts, response_of(p, users)), pairs


SCENE, CANDIDATES = scene_of(SMALL)
SHOWN = Pairs(CANDIDATES.rows[:, :10].copy(), CANDIDATES.relation[:, :10].copy(), CANDIDATES.feeling)


def log_odds_by_hand(scene: Scene, pairs: Pairs, i: int, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What the ranker knows and what is true of one post put to one viewer, straight from the formulas."""
    users, posts, j = scene.users, scene.posts, int(pairs.rows[i, k])
    affinity = float(users.topic[i] @ posts.topic[j]) * np.sqrt(SMALL.n_topics)
    known = np.array(SMALL.action_base) + np.array(SMALL.action_affinity) * affinity + users.log_activity[i]
    known[ANGRY] += users.log_anger[i]
    if pairs.relation[i, k] == FRIEND:
        known += np.array(SMALL.action_closeness)
    pair = np.uint64(key(np.uint64(key(pairs.feeling, i)), j))
    seen = np.array([normal(np.uint64(key(pair, 2 * a))) for a in range(A)])
    unseen = np.array([normal(np.uint64(key(pair, 2 * a + 1))) for a in range(A)])
    noise, r = np.array(SMALL.action_noise), SMALL.noise_seen
    truth = (
        known + noise * (r * seen + np.sqrt(1 - r**2) * unseen) + np.array(SMALL.action_line) * posts.line[j]
    )
    truth[SHARE] += np.log(1.12) * posts.words[j]
    return known + noise * r * seen + (1 - r**2) * noise**2 / 2, truth, affinity


def test_a_wave_comes_to_what_the_formulas_say() -> None:
    posts, users = SCENE.posts, SCENE.users
    weight = np.linspace(0.2, 1.0, 60)
    tally = live(SCENE, SHOWN, true_effect(SMALL, posts), weight)
    for i in (0, 7, 31):
        expected, seen = np.zeros(len(OUTCOMES)), weight[i]
        answering = answering_probability(SMALL, users.log_activity)[i]
        for k in range(10):
            j = int(SHOWN.rows[i, k])
            _, truth, affinity = log_odds_by_hand(SCENE, SHOWN, i, k)
            line = posts.line[j]
            liked = SMALL.satisfaction_base + SMALL.satisfaction_affinity * affinity
            liked -= SMALL.satisfaction_line * users.reflection[i] * line
            liked -= SMALL.satisfaction_harm * posts.harm[j].sum()
            steps = answer_probabilities(np.array([liked]), np.array(SMALL.survey_cuts))[0]
            expected[0] += seen
            expected[1] += seen * SMALL.time_base_s * np.exp(SMALL.time_line * line**SMALL.time_line_power)
            expected[2] += seen * liked
            expected[3] += seen * answering
            expected[4] += seen * answering * (steps @ np.arange(1, 6))
            expected[FIRST_HARM:FIRST_ACTION] += seen * posts.harm[j]
            expected[FIRST_ACTION:] += seen * expit(truth)
            stop = SMALL.stop_base + SMALL.stop_line * line + SMALL.stop_fatigue * k
            seen *= 1 - expit(stop - SMALL.stop_affinity * affinity)
        np.testing.assert_allclose(tally.outcomes[i], expected, rtol=1e-10)


def test_what_is_tallied_by_post_adds_up_to_what_is_tallied_by_user() -> None:
    tally = live(SCENE, SHOWN, true_effect(SMALL, SCENE.posts), np.ones(60))
    np.testing.assert_allclose(tally.views.sum(), tally.outcomes[:, 0].sum())
    np.testing.assert_allclose(tally.satisfaction.sum(), tally.outcomes[:, 2].sum())
    np.testing.assert_allclose(tally.actions.sum(axis=0), tally.outcomes[:, FIRST_ACTION:].sum(axis=0))
    assert (tally.outcomes[:, 0] <= 10).all()


def test_the_ranker_predicts_what_it_knows_and_nothing_of_the_post() -> None:
    signals = np.arange(A)
    values = predict(SCENE, CANDIDATES, np.zeros((len(SCENE.posts.line), A)), signals)
    for i, k in ((0, 0), (5, 17), (59, 39)):
        known, _, _ = log_odds_by_hand(SCENE, CANDIDATES, i, k)
        np.testing.assert_allclose(values[:, i * 40 + k], expit(known), rtol=1e-10)


def test_predictions_that_know_the_post_are_right_on_average() -> None:
    scene, pairs = scene_of(P, 500, 9)
    truth = true_rates(scene, pairs, true_effect(P, scene.posts))[1].reshape(-1, A)
    guess = predict(scene, pairs, true_effect(P, scene.posts), np.arange(A)).T
    for name in ("love", "comment", "reshare"):  # rare enough for a probability to be its odds
        a = ACTIONS.index(name)
        gap = truth[:, a] - guess[:, a]
        error = gap.reshape(500, -1).mean(axis=1).std(ddof=1) / np.sqrt(500)
        assert abs(gap.mean()) < 4 * error + 0.01 * truth[:, a].mean()


def test_a_viewer_feels_the_same_about_a_post_wherever_it_stands() -> None:
    flipped = Pairs(SHOWN.rows[:, ::-1].copy(), SHOWN.relation[:, ::-1].copy(), SHOWN.feeling)
    effect = true_effect(SMALL, SCENE.posts)
    first, second = true_rates(SCENE, SHOWN, effect), true_rates(SCENE, flipped, effect)
    np.testing.assert_array_equal(first[1], second[1][:, ::-1])
    np.testing.assert_array_equal(first[0], second[0][:, ::-1])


def test_each_moral_emotional_word_multiplies_sharing_by_its_rate_ratio() -> None:
    more = SCENE.posts._replace(words=SCENE.posts.words + 1)
    before, after = true_effect(SMALL, SCENE.posts), true_effect(SMALL, more)
    np.testing.assert_allclose(np.exp(after - before)[:, SHARE], 1.12)
    np.testing.assert_array_equal(np.delete(after, SHARE, axis=1), np.delete(before, SHARE, axis=1))


def test_the_anger_of_others_raises_what_the_next_viewer_is_predicted_to_feel() -> None:
    posts, n = SCENE.posts, len(SCENE.posts.line)
    expected = np.full((n, A), 0.5)
    calm, angry = expected.copy(), expected.copy()
    angry[:, ANGRY] *= 4
    gap = post_effect(SMALL, posts, angry, expected) - post_effect(SMALL, posts, calm, expected)
    assert (gap[:, ANGRY] > 1.3).all()  # nearly ln 4 with so many people
    np.testing.assert_array_equal(np.delete(gap, ANGRY, axis=1), 0)
    deaf = replace(SMALL, people_per_user=0.0)
    np.testing.assert_array_equal(
        post_effect(deaf, posts, angry, expected), post_effect(deaf, posts, calm, expected)
    )
    nothing = np.zeros((n, A))
    prior = post_effect(SMALL, posts, nothing, nothing)
    np.testing.assert_allclose(prior, SMALL.content_known * true_effect(SMALL, posts), atol=1e-12)


def test_angry_reactions_lower_and_likes_and_comments_raise_the_next_original_posts() -> None:
    none = np.zeros((60, A))
    base = post_rates(P, SCENE.users, none)
    for name, sign in (
        ("like", 1),
        ("comment", 1),
        ("significant_comment", 1),
        ("reshare", 1),
        ("angry", -1),
    ):
        some = none.copy()
        some[:, ACTIONS.index(name)] = 0.1
        assert (np.sign(post_rates(P, SCENE.users, some) - base) == sign).all()
    much = none.copy()
    much[:, ANGRY] = 1e6
    assert (post_rates(P, SCENE.users, much) == 0).all()


def test_people_return_for_feedback_and_satisfaction_and_stay_away_from_harm() -> None:
    zero = np.zeros(1)
    base = return_probability(P, zero, zero, zero)
    assert base == pytest.approx(expit(P.return_base))
    assert return_probability(P, zero + 1, zero, zero) > base
    assert return_probability(P, zero, zero + 1, zero) > base
    assert return_probability(P, zero, zero, zero + 0.1) < base


def test_remembered_satisfaction_lags_behind_by_weeks() -> None:
    memory = np.zeros(1)
    for _ in range(5):
        memory = remember(memory, np.ones(1), 0.1)
    assert memory[0] == pytest.approx(1 - 0.9**5)  # what is left of the gap after five weeks


def test_answers_are_the_cuts_of_a_logistic_variable() -> None:
    cuts = np.array(P.survey_cuts)
    chance = answer_probabilities(np.array([0.3, -1.0]), cuts)
    np.testing.assert_allclose(chance.sum(axis=1), 1.0)
    drawn = 0.3 + np.random.default_rng(4).logistic(size=100_000)
    share = np.bincount(np.searchsorted(cuts, drawn), minlength=5) / len(drawn)
    np.testing.assert_allclose(share, chance[0], atol=4 * np.sqrt(0.25 / len(drawn)))
    active = answering_probability(P, np.array([-1.0, 1.0]))
    assert active[1] > active[0]


def test_single_people_see_and_do_as_often_as_the_shares_say() -> None:
    rng = np.random.default_rng(5)
    stop = np.tile([-1.0, 0.0, 1.0, -2.0], (40_000, 1))
    shares = seen_shares(stop, 0.1)
    # By hand: goes on after the first with 1 / (1 + e**-1), after the second with 1 / (1 + e**.1), ...
    np.testing.assert_allclose(shares[0, :3], [1.0, expit(1.0), expit(1.0) * expit(-0.1)])
    viewed = draw_views(stop, 0.1, rng)
    np.testing.assert_allclose(viewed.mean(axis=0), shares[0], atol=4 * np.sqrt(0.25 / len(stop)))
    assert (viewed[:, :-1] >= viewed[:, 1:]).all()  # nobody sees a place below the one that was left at
    done = draw_actions(np.full((40_000, 4, A), 0.3), viewed, rng)
    assert not done[~viewed].any()
    assert done[viewed].mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.25 / viewed.sum() / A))
