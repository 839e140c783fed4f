"""Response models of a log: what people do with a candidate they look at, and whether they read on.

Logistic in the ranker's predictions and the harms, cross-fitted by user (`eval.response`), on a sample of
users where the log is large. They are kept as rounded coefficients: predictions are then sums in a fixed
order, the same to the last bit however the log is cut into batches.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import special

from eval.browsing import cascade_examination, slot_positions, view_depth
from eval.browsing_fit import fit_survival
from eval.response import FREE, N_FOLDS, ResponseModel, fit_response, fit_stops
from reranker.columns import FloatArray, IntArray, freeze_arrays, ragged_rows
from reranker.impressions import ImpressionLog
from reranker.ray_session import RaySession

MOST_SLOTS = 1_000_000  # that models are fitted on
LEAST = 1e-6  # probabilities are taken to be at least this far from 0 and 1
UNLIKELY = -30.0  # log-odds of what was never seen to happen
_GRAIN = 4096.0  # coefficients are whole numbers of its inverse, far coarser than what rounding can change
_NO_SCORE = -4.6  # stands for a harm that was not scored, beside a column that says so


@dataclass(frozen=True, eq=False)
class FoldedLogistic:
    """Log-odds that are linear in the features, with coefficients per fold of users.

    Attributes:
        intercept: (F,) of each fold.
        coefficient: (F, d).
        position: (F, FREE + 1) what each position adds, 0 at the first; None where it adds nothing.
        users: (u,) keys of the users it was fitted on, sorted.
        fold: (u,) fold of each; the last fold, F - 1, is the mean of the others, for all other users.
        amount: how many there are where there is any.
    """

    intercept: FloatArray
    coefficient: FloatArray
    position: FloatArray
    users: IntArray
    fold: IntArray
    amount: float = 1.0

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def fold_of(self, user: IntArray) -> IntArray:
        """(n,) row of the coefficients for each user: of a model that has not seen the user."""
        last = len(self.intercept) - 1
        if not len(self.users):
            return np.full(len(user), last)
        at = np.searchsorted(self.users, user).clip(max=len(self.users) - 1)
        return np.where(self.users[at] == user, self.fold[at], last)

    def log_odds(self, columns: Iterable[FloatArray], user: IntArray) -> FloatArray:
        """(m,) at the first position, of features given as columns (m,) and the user of each row."""
        fold = self.fold_of(user)
        total = self.intercept[fold]
        for j, column in enumerate(columns):
            total = total + self.coefficient[fold, j] * column
        return total


@dataclass(frozen=True, eq=False)
class LogModel:
    """What people do on a log, fitted on it.

    Attributes:
        stop: chance to read no further below a slot that is looked at.
        actions: chance of each action on a slot that is looked at.
        theta: (K,) chance that each position is looked at, whatever stands above.
    """

    stop: FoldedLogistic
    actions: Mapping[str, FoldedLogistic]
    theta: FloatArray

    def examine(self, log: ImpressionLog) -> Callable[[IntArray], FloatArray]:
        """The chance (s,) that each slot is looked at, given the rows (s,) in the slots of the log."""
        user = user_codes(log)
        here = self.stop.log_odds(features(log), user[log.request_of_row])
        deeper = self.stop.position[self.stop.fold_of(user)]
        at = deeper[log.request_of_slot, np.minimum(log.position, FREE)]

        def examined(rows: IntArray) -> FloatArray:
            return cascade_examination(special.expit(here[rows] + at), log.slot_offsets)

        return examined

    def respond(self, log: ImpressionLog) -> dict[str, FloatArray]:
        """(c,) by action: how much of it is expected of each candidate once it is looked at."""
        user, columns = user_codes(log)[log.request_of_row], features(log)
        return {
            name: model.amount * special.expit(model.log_odds(columns, user))
            for name, model in self.actions.items()
        }


def user_codes(log: ImpressionLog) -> IntArray:
    """(n,) codes of the users that are the same in every batch."""
    return log.user_key.view(np.int64)


def features(log: ImpressionLog) -> list[FloatArray]:
    """Columns (c,): log-odds of every prediction and harm, and whether each harm was scored."""
    made = [_log_odds(log.p_action[name]) for name in sorted(log.p_action)]
    for name in sorted(log.harm):
        made += [_log_odds(log.harm[name]), np.isnan(log.harm[name]).astype(np.float64)]
    return made


@dataclass(frozen=True, eq=False)
class Sample:
    """What models are fitted on, of some users.

    Attributes:
        request: (n,) key of each request.
        user: (n,) code of its user.
        length: (n,) slots.
        features: (s, d) of the candidates served.
        viewed: (s,).
        actions: by name (s,).
    """

    request: NDArray[np.uint64]
    user: IntArray
    length: IntArray
    features: FloatArray
    viewed: NDArray[np.bool_]
    actions: Mapping[str, FloatArray]

    def take(self, requests: IntArray) -> "Sample":
        """The chosen requests, in the order given."""
        starts = np.cumsum(self.length) - self.length
        slots = ragged_rows(starts[requests], self.length[requests])
        return Sample(
            self.request[requests],
            self.user[requests],
            self.length[requests],
            self.features[slots],
            self.viewed[slots],
            {name: values[slots] for name, values in self.actions.items()},
        )


def sample_of(log: ImpressionLog, request: NDArray[np.uint64]) -> Sample:
    """The slots of a log with views; `request` (n,) are keys of its requests."""
    assert log.viewed is not None
    columns = [column[log.slate] for column in features(log)]
    return Sample(
        request,
        user_codes(log),
        np.diff(log.slot_offsets),
        np.stack(columns, axis=1) if columns else np.zeros((log.n_slots, 0)),
        log.viewed,
        {name: log.action[name].astype(np.float64) for name in sorted(log.action)},
    )


def joined(samples: Iterable[Sample], *, most_slots: int = MOST_SLOTS) -> Sample:
    """One sample in the order of the keys, of all users or, where these are too many, of a share by hash.

    Which users are kept does not depend on the order or the cut of the samples.
    """
    limit, held = 2**64 - 1, list[Sample]()
    for sample in samples:
        held.append(_users_up_to(sample, limit))
        while sum(len(one.viewed) for one in held) > most_slots and limit > 1:
            limit //= 2
            held = [_users_up_to(one, limit) for one in held]
    whole = Sample(
        np.concatenate([one.request for one in held]),
        np.concatenate([one.user for one in held]),
        np.concatenate([one.length for one in held]),
        np.concatenate([one.features for one in held]),
        np.concatenate([one.viewed for one in held]),
        {name: np.concatenate([one.actions[name] for one in held]) for name in held[0].actions},
    )
    return whole.take(np.argsort(whole.request, kind="stable"))


def fit_log_model(sample: Sample, *, seed: int, session: RaySession | None = None) -> LogModel:
    """Models of reading on and of every action.

    Args:
        sample: what they are fitted on.
        seed: of the folds.
        session: whose workers fit the models, one each at a time; None is this process.

    Raises:
        ValueError: fewer than 2 users.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    offsets = np.concatenate(([0], np.cumsum(sample.length))).astype(np.int64)
    depth = view_depth(sample.viewed, offsets)
    fit = partial(_fit, replace(sample, actions={}), offsets, depth, seed)
    wanted = (None, *sample.actions.values())
    stop, *actions = map(fit, wanted) if session is None else session.map(fit, wanted)
    read = np.flatnonzero(depth > 0)
    theta = fit_survival(depth[read], sample.length[read], sample.user[read]).examination
    return LogModel(stop, dict(zip(sample.actions, actions, strict=True)), _whole(theta))


def _fit(
    sample: Sample, offsets: IntArray, depth: IntArray, seed: int, action: FloatArray | None
) -> FoldedLogistic:
    """The model of an action (s,) on the slots that were looked at; None is reading no further."""
    seen = np.flatnonzero(sample.viewed)
    x = sample.features[seen]
    try:
        if action is None:
            stops = fit_stops(sample.features, offsets, depth, sample.user, seed=seed)
            return _folded(stops, x, FREE)
        done, user = action[seen] > 0, np.repeat(sample.user, sample.length)[seen]
        folds = min(N_FOLDS, len(np.unique(sample.user)))
        model = fit_response(x, done, user, n_folds=folds, seed=seed)
        return _folded(model, x, 0, float(action[seen][done].mean()))
    except ValueError:  # too rare, or always: nothing can be learned of it without the user's own
        return _never(x.shape[1])


def position_examiner(log: ImpressionLog, theta: FloatArray) -> Callable[[IntArray], FloatArray]:
    """The chance (s,) that each slot is looked at, by its position alone."""
    at = theta[np.minimum(slot_positions(log.slot_offsets), len(theta) - 1)]
    return lambda _: at


def _folded(model: ResponseModel, x: FloatArray, n_positions: int, amount: float = 1.0) -> FoldedLogistic:
    """The coefficients, read off the predictions at the mean of the features and one deviation from it."""
    d = x.shape[1]
    centre = np.concatenate((x.mean(axis=0), np.zeros(n_positions)))
    step = np.concatenate((x.std(axis=0), np.ones(n_positions)))
    points = np.vstack((centre, centre + np.diag(step)))
    found = np.array([special.logit(one.predict_proba(points)[:, 1]) for one in model.models])  # (F, 1 + d)
    slope = np.where(step > 0, (found[:, 1:] - found[:, :1]) / np.where(step > 0, step, 1.0), 0.0)
    slope = np.rint(slope * _GRAIN) / _GRAIN
    base = np.rint((found[:, 0] - slope[:, :d] @ centre[:d]) * _GRAIN) / _GRAIN
    deeper = np.hstack((np.zeros((len(base), 1)), slope[:, d:]))
    if not n_positions:
        deeper = np.zeros((len(base), FREE + 1))
    return FoldedLogistic(
        _with_mean(base), _with_mean(slope[:, :d]), _with_mean(deeper), model.users, model.fold, amount
    )


def _never(d: int) -> FoldedLogistic:
    none = np.zeros(0, dtype=np.int64)
    return FoldedLogistic(np.full(1, UNLIKELY), np.zeros((1, d)), np.zeros((1, FREE + 1)), none, none)


def _with_mean(rows: FloatArray) -> FloatArray:
    return np.asarray(np.concatenate((rows, rows.mean(axis=0, keepdims=True))), dtype=np.float64)


def _whole(theta: FloatArray) -> FloatArray:
    """Positions that nobody could be observed at are read as the last one that somebody was."""
    known = np.flatnonzero(~np.isnan(theta))
    return np.asarray(theta[np.minimum(np.arange(len(theta)), known[-1])], dtype=np.float64)


def _users_up_to(sample: Sample, limit: int) -> Sample:
    if limit == 2**64 - 1:
        return sample
    return sample.take(np.flatnonzero(sample.user.view(np.uint64) <= np.uint64(limit)))


def _log_odds(p: NDArray[np.floating]) -> FloatArray:
    known = np.clip(p.astype(np.float64), LEAST, 1.0 - LEAST)
    odds: FloatArray = np.where(np.isnan(p), _NO_SCORE, special.logit(known))
    return odds
