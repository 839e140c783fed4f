"""A policy on a log: the product's own scores, exact chances of what was served, refusals by name."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from eval.logged_policy import LogPolicy, agrees_with_log, draw_log, of_product, parse_policy, rank_log
from eval.logged_policy import policy_scores as scores
from eval.logged_response import features, fit_log_model, joined, sample_of, user_codes
from eval.response import fit_response, user_folds
from eval.simulate.impressions import LABEL, impression_log
from eval.simulate.testbed import WEIGHTS, logged
from models.scores import HarmScores
from reranker.assembly import feed_from_columns
from reranker.columns import FeedError
from reranker.exploration import request_keys
from reranker.impressions import ImpressionLog
from reranker.pipeline import Reranker
from reranker.policy import PolicyError
from reranker.presets import load_policy
from tests.logs import log_columns, log_of

POLICY = """
schema = 1
name = "mine"
[score]
bounded = {bounded}
[weights]
like = 1
angry = {angry}
haha = 9
[demotion.toxicity]
start = 0.2
line = 0.8
floor = 0.1
[unscored]
multiplier = 0.7
"""


def written(folder: Path, text: str, **values: object) -> str:
    path = folder / "mine.toml"
    path.write_text(text.format(**({"bounded": "false", "angry": 5} | values)))
    return str(path)


@pytest.mark.parametrize(("bounded", "angry"), [("false", 5), ("true", 5), ("false", -2)])
def test_scores_are_those_of_the_product_on_the_same_candidates(
    tmp_path: Path, bounded: str, angry: int
) -> None:
    log = log_of(12)
    name = written(tmp_path, POLICY.replace("haha = 9\n", ""), bounded=bounded, angry=angry)
    policy = load_policy(name)
    label = log.harm["toxicity"].astype(np.float64)
    feed = feed_from_columns(
        {
            "request_id": [str(log.request_id[r]) for r in log.request_of_row.tolist()],
            "post_id": [str(row) for row in range(log.n_candidates)],
            **{signal: values.astype(np.float64) for signal, values in log.p_action.items()},
        },
        kind="probabilities",
    )
    sure = np.where(np.isnan(label), np.nan, 1.0)  # a log keeps no confidence: it is 1
    harm = HarmScores(("toxicity",), label[:, None], sure[:, None], model="test")
    ranking = Reranker(policy, lambda _: harm).rank(feed)
    np.testing.assert_allclose(scores(of_product(policy, name=name), log), ranking.score, rtol=1e-6)


def test_a_product_policy_with_a_part_that_a_log_cannot_rank_by_is_refused_by_that_part(
    tmp_path: Path,
) -> None:
    extra = {
        "relationship.stranger": "[relationship]\nstranger = 0.3\n",
        "slate.author_decay": "[slate]\nauthor_decay = 0.5\n",
        "score.order_by": '[score]\norder_by = "chronological"\n',
        "score.expects": '[score]\nexpects = "counts"\n',
        "labels.toxicity": "[labels]\ntoxicity = -3\n",
        "guard.max_signal_share": "[guard]\nmax_signal_share = 0.7\n",
        "demotion.toxicity.removal": "[demotion.toxicity]\nstart = 0.1\nline = 0.5\nremoval = 0.9\n",
        "override.country.MM.like": "[override.country.MM]\nlike = 0\n",
        "holdout.share": "[holdout]\nshare = 0.1\n",
    }
    for part, text in extra.items():
        name = written(tmp_path, 'schema = 1\nname = "mine"\n' + text + "[weights]\nlike = 1\n")
        with pytest.raises(PolicyError, match=f"{part}: expected none, as a log has no column for it"):
            parse_policy(name)
    with pytest.raises(PolicyError, match="relationship"):
        parse_policy("fb-2018-late")
    with pytest.raises(
        FeedError, match=r"weights.haha: expected a prediction that was logged \(angry, like\)"
    ):
        rank_log(parse_policy(written(tmp_path, POLICY)), log_of())


def test_a_product_policy_brings_its_own_exploration(tmp_path: Path) -> None:
    name = written(tmp_path, POLICY + "[exploration]\ntemperature = 0.3\nfrom_rank = 2\nn_slots = 2\n")
    found = parse_policy(name)
    assert (found.temperature, found.from_rank, found.n_slots) == (0.3, 2, 2)
    assert parse_policy(name, temperature=1.5).temperature == 1.5
    log = ImpressionLog(**log_columns(p_action={n: log_of().score % 1.0 for n in ("like", "angry", "haha")}))
    with pytest.raises(FeedError, match=r"exploration\.n_slots: expected at least the 3 slots served, got 2"):
        rank_log(found, log)


def test_weights_are_read_from_a_line_of_text() -> None:
    found = parse_policy("like=1, angry=-0.5,demotion.toxicity=0.2:0.8:0.1", temperature=0.2, scale="log")
    assert found.weights == {"like": 1.0, "angry": -0.5}
    assert (found.demotion["toxicity"].start, found.demotion["toxicity"].floor) == (0.2, 0.1)
    assert (found.temperature, found.scale) == (0.2, "log")
    assert parse_policy("angry=-0.5,like=1").digest == parse_policy("like=1,angry=-0.5,love=0").digest
    assert parse_policy("logger").is_logger
    for text in ("like=", "like=x", "like=1,like=2", "=1", "like=inf", "demotion.toxicity=0.5", "like=1:2:3"):
        with pytest.raises(PolicyError, match="policy: expected weights such as like=1"):
            parse_policy(text)
    with pytest.raises(PolicyError, match="at least one weight"):
        parse_policy("demotion.toxicity=0.2:0.8:0.1")
    with pytest.raises(PolicyError, match='policy "like": expected a preset'):
        parse_policy("like")
    with pytest.raises(PolicyError, match="temperature: expected a finite number of at least 0, got -1"):
        parse_policy("like=1", temperature=-1.0)


def test_the_logger_is_recognised_by_what_it_served_and_a_near_one_is_not() -> None:
    log = impression_log(logged(40, 1, 0.5, 1))
    own = LogPolicy("own", WEIGHTS, scale="log")
    assert agrees_with_log(rank_log(own, log), log)
    single = dataclasses.replace(log, p_action={k: v.astype(np.float32) for k, v in log.p_action.items()})
    assert agrees_with_log(rank_log(own, single), single)  # as a file keeps them
    near = LogPolicy("near", WEIGHTS | {"like": 1.001}, scale="log")
    assert not agrees_with_log(rank_log(near, log), log)
    assert not agrees_with_log(rank_log(dataclasses.replace(own, temperature=0.501), log), log)


def enumerated(score: np.ndarray, heat: float, from_rank: int) -> dict[tuple[int, ...], float]:
    """Chances of all rankings of one request, slot by slot, the ranks above `from_rank` as sorted."""
    head = np.argsort(-score, kind="stable")[: from_rank - 1].tolist()
    chances = {}
    for rest in itertools.permutations([i for i in range(len(score)) if i not in head], 2):
        p, left = 1.0, [i for i in range(len(score)) if i not in head]
        for i in rest:
            p *= np.exp(score[i] / heat) / np.exp(score[left] / heat).sum()
            left.remove(i)
        chances[(*head, *rest)] = p
    return chances


def test_weights_and_what_the_logger_never_serves_add_up_to_one() -> None:
    """A logger bound to its first rank, and a target that puts another there some of the time."""
    score, heat = np.array([0.9, 0.5, 0.4, 0.1]), 0.5
    chances = enumerated(score, heat, 2)
    total = np.zeros(3)
    for slate, p in chances.items():
        log = one_request(score, slate, heat, np.log(prefixes(chances, slate)))
        found = rank_log(LogPolicy("t", {"like": 1.0}, from_rank=1, temperature=0.3), log)
        weight = np.exp(found.log_prefix - log.log_prefix_propensity)
        total += p * (weight + found.unsupported)
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def prefixes(chances: dict[tuple[int, ...], float], slate: tuple[int, ...]) -> np.ndarray:
    return np.array([sum(p for s, p in chances.items() if s[:k] == slate[:k]) for k in (1, 2, 3)]).clip(max=1)


def one_request(score: np.ndarray, slate: tuple[int, ...], heat: float, prefix: np.ndarray) -> ImpressionLog:
    log = log_of(1, most=0)
    return dataclasses.replace(
        log,
        offsets=np.array([0, len(score)]),
        item_id=np.arange(len(score)),
        score=score,
        slot_offsets=np.array([0, len(slate)]),
        slate=np.array(slate),
        log_prefix_propensity=np.minimum(prefix, 0.0),
        p_action={"like": score[::-1].copy()},
        harm={},
        groups={},
        action={},
        viewed=None,
        dwell_ms=None,
        temperature=np.array([heat]),
        from_rank=np.array([2]),
        n_total=np.array([len(score)]),
    )


@pytest.mark.parametrize("from_rank", [1, 2, 3])
def test_slates_are_drawn_as_often_as_their_chance_says(from_rank: int) -> None:
    score, heat, m = np.array([0.9, 0.5, 0.4, 0.1]), 0.5, 2_000
    log = one_request(score, tuple(range(from_rank + 1)), heat, np.zeros(from_rank + 1))
    policy = LogPolicy("t", {"like": 1.0}, temperature=0.4, from_rank=from_rank)
    found = rank_log(policy, log)
    key = np.ones(1, np.uint64)
    drawn = [tuple(draw_log(found, log, key, seed=seed).tolist()) for seed in range(m)]
    for slate, p in enumerated(score[::-1], 0.4, from_rank).items():
        assert abs(drawn.count(slate) / m - p) < 4 * np.sqrt(p * (1 - p) / m) + 1e-9


def test_of_what_was_not_logged_in_full_nothing_is_known() -> None:
    columns = log_columns(30)
    log = ImpressionLog(**(columns | {"n_total": columns["n_total"] + (np.arange(30) == 3)}))
    p = log.p_action["like"].copy()
    p[log.offsets[9]] = np.nan
    log = dataclasses.replace(log, p_action={"like": p, "angry": log.p_action["angry"]})
    found = rank_log(LogPolicy("t", {"like": 1.0, "angry": 0.0}), log)
    assert np.flatnonzero(~found.known).tolist() == [3, 9]
    gone = np.isin(log.request_of_slot, [3, 9])
    assert (found.log_prefix[gone] == -np.inf).all()
    assert (found.unsupported[gone] == 1.0).all()
    assert (found.unsupported[~gone & (log.log_prefix_propensity < 0)] == 0.0).all()
    assert rank_log(LogPolicy("t", {"angry": 1.0}), log).known.sum() == 29
    unknown = ImpressionLog(**(columns | {"temperature": None}))
    with pytest.raises(FeedError, match='t: expected a temperature, as that of request "r0" was not logged'):
        rank_log(LogPolicy("t", {"like": 1.0}), unknown)
    assert rank_log(LogPolicy("t", {"like": 1.0}, temperature=1.0), unknown).known.all()
    with pytest.raises(FeedError, match="expected scores above 0 for a logarithm"):
        rank_log(LogPolicy("t", {"like": -1.0}, scale="log"), log_of())


LOG = impression_log(logged(300, 2, 0.5, 2))


def test_the_kept_coefficients_give_the_predictions_of_the_fitted_models() -> None:
    keys = request_keys(LOG.request_id.values)[LOG.request_id.codes]
    sample = joined([sample_of(LOG, keys)])
    found = fit_log_model(sample, seed=0).respond(LOG)["like"]
    user = np.repeat(sample.user, sample.length)
    seen = sample.viewed
    model = fit_response(sample.features[seen], sample.actions["like"][seen] > 0, user[seen], seed=0)
    own = user_codes(LOG)[LOG.request_of_row]
    expected = model.predict(np.stack(features(LOG), axis=1), own)
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-4)
    # of the fold that has not seen the user: the fold of each is that of the fit
    users = np.unique(sample.user[:, None])
    assert len(users) == 300
    assert np.bincount(user_folds(300, 5, 0)).tolist() == [60] * 5


def test_a_sample_of_users_does_not_depend_on_the_order_of_the_batches() -> None:
    keys = request_keys(LOG.request_id.values)[LOG.request_id.codes]
    parts = [np.arange(start, start + 100) for start in range(0, 600, 100)]
    samples = [sample_of(LOG.take(rows), keys[rows]) for rows in parts]
    kept = [joined(order, most_slots=900) for order in (samples, samples[::-1])]
    assert 200 < len(kept[0].viewed) <= 900
    np.testing.assert_array_equal(kept[0].features, kept[1].features)
    np.testing.assert_array_equal(kept[0].request, kept[1].request)
    # users are kept whole
    assert (np.unique(kept[0].user, return_counts=True)[1] == 2).all()
    assert LABEL in LOG.harm
