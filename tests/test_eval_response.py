import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from eval.browsing import cascade_examination, view_depth
from eval.off_policy import Responses, SlateLog, evaluate
from eval.response import fit_response, fit_stops, stop_chances, user_folds
from eval.trust import calibration
from tests.slate_world import N_SLOTS, RANKINGS, World

pytest.importorskip("sklearn")


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other cost minutes on a busy machine."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def rows():
    """6,000 looked-at slots of 600 users; log-odds are linear in two features."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(6000, 2))
    chance = 1 / (1 + np.exp(1.0 - features @ [1.0, -0.5]))
    return features, rng.random(6000) < chance, np.repeat(np.arange(600), 10), chance


def test_folds_are_of_users_and_as_large_as_each_other():
    fold = user_folds(23, 5, seed=1)
    assert sorted(np.bincount(fold).tolist()) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(fold, user_folds(23, 5, seed=1))


@pytest.mark.parametrize(("kind", "error"), [("logistic", 0.02), ("boosting", 0.08)])
def test_out_of_fold_predictions_are_near_the_known_chances_and_calibrated(rows, kind, error):
    features, outcome, user, chance = rows
    model = fit_response(features, outcome, user, kind=kind, seed=2)
    assert np.sqrt(np.mean((model.predicted - chance) ** 2)) < error
    report = calibration(model.predicted, outcome.astype(float), user)
    assert report.ratio.low <= 1 <= report.ratio.high
    assert abs(report.squared_error) < 0.002


def test_no_prediction_comes_from_a_model_that_saw_the_user(rows):
    features, outcome, user, _ = rows
    model = fit_response(features, outcome, user, seed=2)
    np.testing.assert_array_equal(model.predict(features, user), model.predicted)
    # flip all outcomes of one user: its own predictions stay, those of other folds' users move
    flipped = np.where(user == 7, ~outcome, outcome)
    again = fit_response(features, flipped, user, seed=2)
    np.testing.assert_array_equal(again.predicted[user == 7], model.predicted[user == 7])
    assert (again.predicted != model.predicted)[user != 7].any()


def test_an_outcome_that_only_marks_the_user_cannot_be_predicted(rows):
    # without folds of users, the trees would learn who the user is and predict a coin that it tossed
    user = rows[2][:2000]
    coin = np.random.default_rng(3).random(200)[user] < 0.5
    model = fit_response(user[:, None].astype(float), coin, user, kind="boosting", n_folds=2, seed=2)
    assert abs(np.corrcoef(model.predicted, coin)[0, 1]) < 0.3


def test_a_new_user_gets_the_mean_of_all_folds(rows):
    features, outcome, user, _ = rows
    model = fit_response(features, outcome, user, seed=2)
    alone = [m.predict_proba(features[:5])[:, 1] for m in model.models]
    np.testing.assert_allclose(model.predict(features[:5], np.full(5, 9999)), np.mean(alone, axis=0))


@pytest.fixture(scope="module")
def read():
    world = World()
    return world, world.draw(2500, 2, seed=8)


def features_of(world, drawn, rankings) -> np.ndarray:
    """(s, 2) whether people stop at the item, and how much they like it; of one ranking per request."""
    stop = world.stop[drawn.kind[:, None], rankings]
    return np.column_stack([stop.ravel(), world.attraction[drawn.kind[:, None], rankings].ravel()])


def test_the_hazard_of_stopping_is_recovered_from_looked_at_slots_only(read):
    world, drawn = read
    features = features_of(world, drawn, RANKINGS[drawn.ranking])
    depth = view_depth(drawn.viewed, drawn.offsets)
    model = fit_stops(features, drawn.offsets, depth, drawn.user, seed=1)
    # the last slot is never at risk, so that the two above it are 5,000 requests' worth of rows at most
    assert len(model.predicted) == (drawn.viewed.reshape(-1, N_SLOTS)[:, :-1]).sum()
    stop = stop_chances(model, features, drawn.offsets, drawn.user)
    above = np.arange(len(stop)) % N_SLOTS < N_SLOTS - 1
    assert np.sqrt(np.mean((stop - features[:, 0])[above] ** 2)) < 0.03
    seen = cascade_examination(stop, drawn.offsets)
    by_rank = seen.reshape(-1, N_SLOTS).mean(axis=0)
    np.testing.assert_allclose(by_rank, drawn.viewed.reshape(-1, N_SLOTS).mean(axis=0), atol=0.02)


def test_fitted_models_make_a_doubly_robust_estimate_that_covers_the_truth_and_beats_weights(read):
    world, drawn = read
    features = features_of(world, drawn, RANKINGS[drawn.ranking])
    hazard = fit_stops(features, drawn.offsets, view_depth(drawn.viewed, drawn.offsets), drawn.user)
    of_slot = np.repeat(drawn.user, N_SLOTS)
    seen = drawn.viewed
    response = fit_response(features[seen], drawn.reward[seen] > 0, of_slot[seen])

    def value(rankings):
        x = features_of(world, drawn, rankings)
        stop = stop_chances(hazard, x, drawn.offsets, drawn.user)
        return cascade_examination(stop, drawn.offsets) * response.predict(x, of_slot)

    direct = np.zeros((2, len(drawn.kind)))
    for m, ranking in enumerate(RANKINGS):  # over all rankings: exact under the model
        each = value(np.broadcast_to(ranking, (len(drawn.kind), N_SLOTS))).reshape(-1, N_SLOTS).sum(axis=1)
        direct += np.stack([world.p_target[drawn.kind, m, -1], world.p_logging[drawn.kind, m, -1]]) * each
    log = drawn.log
    found = evaluate(log, responses=Responses(value(RANKINGS[drawn.ranking]), *direct)).difference
    plain = evaluate(
        SlateLog(log.weight, log.reward, log.slot_offsets, log.user), estimator="rips"
    ).difference
    truth = np.subtract(*world.truth())
    assert abs(found.value - truth) < 4 * found.standard_error
    assert found.standard_error < 0.85 * plain.standard_error


def test_without_scikit_learn_the_error_names_the_extra(rows, monkeypatch):
    features, outcome, user, _ = rows
    for name in ("sklearn", "sklearn.linear_model", "sklearn.ensemble"):
        monkeypatch.setitem(sys.modules, name, None)  # what the import system reads as not installed
    for kind in ("logistic", "boosting"):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "harm-aware-reranker\[eval\]"'):
            fit_response(features, outcome, user, kind=kind)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.full((6000, 2), np.nan)}, r"features: expected finite numbers, got .* at row 0"),
        ({"features": np.zeros((5, 2))}, "features: expected a row"),
        ({"outcome": np.zeros(6000, bool)}, "outcome: expected both values among users outside fold 0"),
        ({"n_folds": 601}, "n_folds: expected 2 to 600, the number of users, got 601"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(rows, change, message):
    features, outcome, user, _ = rows
    call = {"features": features, "outcome": outcome, "user": user} | change
    with pytest.raises(ValueError, match=message):
        fit_response(**call)
