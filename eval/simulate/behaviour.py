"""What people do with what they are shown, and what it makes of them a week later.

One simulated user stands for many people who are alike, so a session's outcomes are means over them: no
action is drawn, each place is weighted by the chance that it is seen. Only `draw_actions` makes single
people of them.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eval.simulate.draws import key, normal
from eval.simulate.parameters import ACTIONS, HARMS, Parameters
from eval.simulate.world import FRIEND, Posts, Users
from reranker.columns import BoolArray, FloatArray, IntArray

A = len(ACTIONS)
H = len(HARMS)
ANGRY, COMMENT, SIGNIFICANT, SHARE = (
    ACTIONS.index(name) for name in ("angry", "comment", "significant_comment", "reshare")
)
OUTCOMES = ("views", "time_s", "satisfaction", "answers", "answer_sum", *HARMS, *ACTIONS)
M = len(OUTCOMES)
FIRST_HARM, FIRST_ACTION = 5, 5 + H


class Response(NamedTuple):
    """The numbers that the compiled loops read, each per action or per part of a formula; see `Parameters`.

    `own` is (n, A), what each user brings to each action whatever the post: base, activity, proneness.
    """

    own: FloatArray
    affinity: FloatArray
    closeness: FloatArray
    noise: FloatArray
    seen: float
    stop: FloatArray  # base, line, fatigue, affinity
    time: FloatArray  # base, line, power
    satisfaction: FloatArray  # base, affinity, line, harm
    cuts: FloatArray
    answering: FloatArray


def response_of(p: Parameters, users: Users) -> Response:
    """The numbers of behaviour as arrays."""
    own = np.array(p.action_base) + p.activity_gain * users.log_activity[:, None]
    own[:, ANGRY] += users.log_anger
    return Response(
        own,
        np.array(p.action_affinity),
        np.array(p.action_closeness),
        np.array(p.action_noise),
        p.noise_seen,
        np.array((p.stop_base, p.stop_line, p.stop_fatigue, p.stop_affinity)),
        np.array((p.time_base_s, p.time_line, p.time_line_power)),
        np.array((p.satisfaction_base, p.satisfaction_affinity, p.satisfaction_line, p.satisfaction_harm)),
        np.array(p.survey_cuts),
        answering_probability(p, users.log_activity),
    )


class Pairs(NamedTuple):
    """Posts put to users: rows (n, k) of posts, relation (n, k), and the key of what viewers feel."""

    rows: NDArray[np.int32]
    relation: NDArray[np.int8]
    feeling: np.uint64


class Scene(NamedTuple):
    """Who looks at what, and how they behave."""

    users: Users
    posts: Posts
    response: Response


class Tally(NamedTuple):
    """What a wave came to.

    Attributes:
        outcomes: (n, M) by user, in the order of `OUTCOMES`.
        actions: (posts, A) done on each post.
        expected: (posts, A) what the ranker expected of the same views, knowing nothing of the post.
        views: (posts,).
        satisfaction: (posts,) summed over views.
    """

    outcomes: FloatArray
    actions: FloatArray
    expected: FloatArray
    views: FloatArray
    satisfaction: FloatArray


def _affinity_of(taste: FloatArray, topic: FloatArray) -> float:
    total = 0.0
    for d in range(len(taste)):
        total += taste[d] * topic[d]
    return float(total * np.sqrt(float(len(taste))))  # about standard normal for strangers


affinity_of = njit(cache=True, nogil=True)(_affinity_of)


def _sigmoid(log_odds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-log_odds)))


sigmoid = njit(cache=True, nogil=True, error_model="numpy")(_sigmoid)


def _predict(scene: Scene, pairs: Pairs, effect: FloatArray, signals: IntArray) -> FloatArray:
    users, posts, r = scene.users, scene.posts, scene.response
    n, c = pairs.rows.shape
    values, noise, close = np.empty((len(signals), n * c)), r.noise, r.closeness
    slope, seen = r.affinity, r.seen
    for i in range(n):
        key_i, own, taste, rows, ties = (
            key(pairs.feeling, i),
            r.own[i],
            users.topic[i],
            pairs.rows[i],
            pairs.relation[i],
        )
        for k in range(c):
            j = rows[k]
            pair, affinity, believed = key(key_i, j), affinity_of(taste, posts.topic[j]), effect[j]
            near = 1.0 if ties[k] == FRIEND else 0.0
            for s in range(len(signals)):
                a = signals[s]
                felt = noise[a] * (seen * normal(key(pair, 2 * a)) + (1.0 - seen**2) / 2.0 * noise[a])
                log_odds = own[a] + slope[a] * affinity + close[a] * near + believed[a] + felt
                values[s, i * c + k] = sigmoid(log_odds)
    return values


predict_loop = njit(cache=True, nogil=True, error_model="numpy")(_predict)


def predict(scene: Scene, pairs: Pairs, effect: FloatArray, signals: IntArray) -> FloatArray:
    """(S, n * k) the ranker's probability of each signal on each post, request by request.

    It knows the viewer, the tie and a part of the viewer's feeling; of the post only `effect` (posts, A), in
    log-odds. What it does not see of the feeling is averaged over.
    """
    values: FloatArray = predict_loop(scene, pairs, effect, signals)
    return values


def _act(
    r: Response, shown: tuple[FloatArray, FloatArray, float, np.uint64], weight: float, out: FloatArray
) -> None:
    own, effect, affinity, pair = shown
    seen, unseen = r.seen, np.sqrt(1.0 - r.seen**2)
    for a in range(len(own)):
        felt = seen * normal(key(pair, 2 * a))
        known = own[a] + r.affinity[a] * affinity
        out[0, a] = weight * sigmoid(known + r.noise[a] * (felt + (1.0 - seen**2) / 2.0 * r.noise[a]))
        felt += unseen * normal(key(pair, 2 * a + 1))
        out[1, a] = weight * sigmoid(known + effect[a] + r.noise[a] * felt)


act = njit(cache=True, nogil=True, error_model="numpy", inline="always")(_act)


def _live(scene: Scene, pairs: Pairs, effect: FloatArray, weight: FloatArray) -> Tally:
    users, posts, r = scene.users, scene.posts, scene.response
    n, n_slots = pairs.rows.shape
    out, views, pleased = np.zeros((n, M)), np.zeros(len(posts.line)), np.zeros(len(posts.line))
    actions, expected = np.zeros((len(posts.line), A)), np.zeros((len(posts.line), A))
    done, own = np.empty((2, A)), np.empty(A)
    for i in range(n):
        seen, key_i, taste, mine = weight[i], key(pairs.feeling, i), users.topic[i], out[i]
        for k in range(n_slots):
            j = pairs.rows[i, k]
            line, affinity = posts.line[j], affinity_of(taste, posts.topic[j])
            own[:] = r.own[i]
            if pairs.relation[i, k] == FRIEND:
                own += r.closeness
            act(r, (own, effect[j], affinity, key(key_i, j)), seen, done)
            for a in range(A):
                mine[FIRST_ACTION + a] += done[1, a]
                expected[j, a] += done[0, a]
                actions[j, a] += done[1, a]
            liked = r.satisfaction[0] + r.satisfaction[1] * affinity
            liked -= r.satisfaction[2] * users.reflection[i] * line
            for h in range(H):
                mine[FIRST_HARM + h] += seen * posts.harm[j, h]
                liked -= r.satisfaction[3] * posts.harm[j, h]
            answer = 1.0
            for cut in r.cuts:
                answer += sigmoid(liked - cut)
            views[j] += seen
            pleased[j] += seen * liked
            mine[0] += seen
            mine[1] += seen * r.time[0] * np.exp(r.time[1] * line ** r.time[2])
            mine[2] += seen * liked
            mine[3] += seen * r.answering[i]
            mine[4] += seen * r.answering[i] * answer
            seen *= 1.0 - sigmoid(r.stop[0] + r.stop[1] * line + r.stop[2] * k - r.stop[3] * affinity)
    return Tally(out, actions, expected, views, pleased)


live_loop = njit(cache=True, nogil=True, error_model="numpy")(_live)


def live(scene: Scene, pairs: Pairs, effect: FloatArray, weight: FloatArray) -> Tally:
    """What a wave of sessions comes to.

    Args:
        scene: n people and the posts of the week.
        pairs: what is shown, from the top.
        effect: (posts, A) what each post does to each action, see `true_effect`.
        weight: (n,) the chance that each comes at all.
    """
    tally: Tally = live_loop(scene, pairs, effect, weight)
    return tally


def _true_rates(scene: Scene, pairs: Pairs, effect: FloatArray) -> tuple[FloatArray, FloatArray]:
    users, posts, r = scene.users, scene.posts, scene.response
    n, n_slots = pairs.rows.shape
    stop, p_action = np.empty((n, n_slots)), np.empty((n, n_slots, A))
    done, own = np.empty((2, A)), np.empty(A)
    for i in range(n):
        key_i = key(pairs.feeling, i)
        for k in range(n_slots):
            j = pairs.rows[i, k]
            affinity = affinity_of(users.topic[i], posts.topic[j])
            own[:] = r.own[i]
            if pairs.relation[i, k] == FRIEND:
                own += r.closeness
            act(r, (own, effect[j], affinity, key(key_i, j)), 1.0, done)
            p_action[i, k] = done[1]
            stop[i, k] = r.stop[0] + r.stop[1] * posts.line[j] - r.stop[3] * affinity
    return stop, p_action


true_rates_loop = njit(cache=True, nogil=True, error_model="numpy")(_true_rates)


def true_rates(scene: Scene, pairs: Pairs, effect: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n, k) log-odds of leaving after a post at the top, and (n, k, A) probabilities of acting if seen.

    The log-odds of leaving rise by `stop_fatigue` with each place.
    """
    rates: tuple[FloatArray, FloatArray] = true_rates_loop(scene, pairs, effect)
    return rates


def true_effect(p: Parameters, posts: Posts) -> FloatArray:
    """(posts, A) what each post does to the log-odds of each action: closeness to the line, words that move.

    Each moral-emotional word multiplies the rate of sharing by `word_rate_ratio`.
    """
    effect = np.outer(posts.line, np.array(p.action_line))
    effect[:, SHARE] += np.log(p.word_rate_ratio) * posts.words
    return effect


def post_effect(p: Parameters, posts: Posts, actions: FloatArray, expected: FloatArray) -> FloatArray:
    """(posts, A) what the ranker believes of each post, in log-odds: a prior, and what others did on it.

    log((m * prior + S * actions) / (m + S * expected)): the mean of a gamma belief about the ratio of what
    people did to what was expected of them. This is how the anger of some reaches the feeds of others.
    """
    scale = p.people_per_user
    prior = p.prior_events * np.exp(p.content_known * true_effect(p, posts))
    effect: FloatArray = np.log((prior + scale * actions) / (p.prior_events + scale * expected))
    return effect


def return_probability(
    p: Parameters, feedback: FloatArray, memory: FloatArray, harm_rate: FloatArray
) -> FloatArray:
    """(n,) the chance of coming to a session of the next week.

    Args:
        p: the numbers.
        feedback: (n,) likes and comments received this week.
        memory: (n,) remembered satisfaction, see `remember`.
        harm_rate: (n,) harms seen per view this week.
    """
    log_odds = p.return_base + p.return_feedback * np.log1p(feedback)
    log_odds = log_odds + p.return_satisfaction * memory - p.return_harm * harm_rate
    chance: FloatArray = 1.0 / (1.0 + np.exp(-log_odds))
    return chance


def remember(memory: FloatArray, satisfaction: FloatArray, lag: float) -> FloatArray:
    """(n,) remembered satisfaction: weeks pass before it follows what is felt."""
    return memory + lag * (satisfaction - memory)


def post_rates(p: Parameters, users: Users, received: FloatArray) -> FloatArray:
    """(n,) original posts that each will write next week, from what the last ones received (n, A).

    More likes, comments and shares bring more, angry reactions fewer; never below none.
    """
    likes, angry, shares = (received[:, k] for k in (0, ANGRY, SHARE))
    comments = received[:, COMMENT] + received[:, SIGNIFICANT]
    rate = p.posts_base * np.exp(users.log_activity) + p.posts_like * likes + p.posts_comment * comments
    return np.maximum(rate + p.posts_share * shares - p.posts_angry * angry, 0.0)


def answer_probabilities(satisfaction: FloatArray, cuts: FloatArray) -> FloatArray:
    """(n, cuts + 1) chance of each answer to "glad to have seen it?", from worst to best.

    Source: McCullagh, Regression models for ordinal data, 1980, the proportional-odds model.

    Example:
        >>> answer_probabilities(np.array([0.0]), np.array([0.0])).tolist()
        [[0.5, 0.5]]
    """
    above = 1.0 / (1.0 + np.exp(cuts - satisfaction[:, None]))
    edge = np.ones((len(satisfaction), 1))
    chance: FloatArray = -np.diff(np.concatenate((edge, above, 0.0 * edge), axis=1), axis=1)
    return chance


def answering_probability(p: Parameters, log_activity: FloatArray) -> FloatArray:
    """(n,) the chance that a person answers a survey: those who do more answer more."""
    log_odds = p.survey_answer_base + p.survey_answer_activity * log_activity
    chance: FloatArray = 1.0 / (1.0 + np.exp(-log_odds))
    return chance


def draw_views(log_odds_stop: FloatArray, fatigue: float, rng: np.random.Generator) -> BoolArray:
    """(n, k) True where one person saw the place: it goes on from the top until it stops."""
    viewed: BoolArray = rng.random((len(log_odds_stop), 1)) < seen_shares(log_odds_stop, fatigue)
    return viewed


def seen_shares(log_odds_stop: FloatArray, fatigue: float) -> FloatArray:
    """(n, k) the chance that each place is seen, 1 at the top."""
    goes_on = 1.0 / (1.0 + np.exp(log_odds_stop + fatigue * np.arange(log_odds_stop.shape[1])))
    shares = np.ones_like(goes_on)
    np.cumprod(goes_on[:, :-1], axis=1, out=shares[:, 1:])
    return shares


def draw_actions(p_action: FloatArray, viewed: BoolArray, rng: np.random.Generator) -> BoolArray:
    """(n, k, A) what one person did on what it saw; nothing on what it did not see."""
    done: BoolArray = (rng.random(p_action.shape) < p_action) & viewed[..., None]
    return done
