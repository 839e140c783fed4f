"""Response models: what people do with an item they look at, and where they stop reading.

Fitted on slots that were looked at only, since a post that nobody saw says nothing about the post. Always
cross-fitted by user: no prediction comes from a model that has seen the user. A model alone never identifies
an effect; `eval.trust` says how far it can be trusted.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np

from eval.browsing import slot_positions
from eval.browsing_fit import slots_at_risk
from reranker.columns import BoolArray, FloatArray, IntArray, frozen

Kind = Literal["logistic", "boosting"]
N_FOLDS = 5
FREE = 9  # ranks below the first with a level of their own


class Classifier(Protocol):
    """What is asked of a classifier of scikit-learn."""

    def fit(self, features: FloatArray, outcome: BoolArray) -> Self:
        """Fit, and return itself."""

    def predict_proba(self, features: FloatArray) -> FloatArray:
        """(m, 2) probabilities of no and of yes."""


@dataclass(frozen=True, eq=False)
class ResponseModel:
    """One classifier per fold of users.

    Attributes:
        kind: of the classifiers.
        models: one per fold, each fitted on the users of the other folds.
        users: (u,) codes of the users it was fitted on, sorted.
        fold: (u,) fold of each.
        predicted: (m,) out-of-fold probability of each row that it was fitted on.
    """

    kind: Kind
    models: tuple[Classifier, ...]
    users: IntArray
    fold: IntArray
    predicted: FloatArray

    def predict(self, features: FloatArray, user: IntArray) -> FloatArray:
        """(m,) probabilities: of the model that has not seen the user, the mean of all for a new user.

        Raises:
            ValueError: lengths that differ, or features that are not finite.
        """
        _check_rows(features, user)
        at = np.searchsorted(self.users, user).clip(max=len(self.users) - 1)
        fold = np.where(self.users[at] == user, self.fold[at], -1)
        made = np.zeros(len(user))
        for f, model in enumerate(self.models):
            for rows, share in ((fold == f, 1.0), (fold == -1, 1.0 / len(self.models))):
                if rows.any():
                    made[rows] += share * model.predict_proba(features[rows])[:, 1]
        return made


def fit_response(
    features: FloatArray,
    outcome: BoolArray,
    user: IntArray,
    *,
    kind: Kind = "logistic",
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> ResponseModel:
    """A model of P(outcome | looked at, features), cross-fitted by user.

    For an action, pass the slots that were viewed; for where people stop reading, see `fit_stops`.

    Args:
        features: (m, d) finite.
        outcome: (m,) what happened.
        user: (m,) integer codes.
        kind: logistic regression on standardised features, or gradient-boosted trees.
        n_folds: of users, at least 2.
        seed: of the folds and of the trees.

    Raises:
        ValueError: lengths that differ, features that are not finite, fewer users than folds, or a fold
            whose training rows have one outcome only.
        ModuleNotFoundError: scikit-learn is not installed.

    Source: Chernozhukov, Chetverikov, Demirer, Duflo, Hansen, Newey and Robins, Double/debiased machine
    learning, 2018, definition 3.1 (cross-fitting).
    """
    _check_rows(features, user, outcome)
    users, of_row = np.unique(user, return_inverse=True)
    if not 2 <= n_folds <= len(users):
        raise ValueError(f"n_folds: expected 2 to {len(users)}, the number of users, got {n_folds}")
    fold = user_folds(len(users), n_folds, seed)
    models, predicted = [], np.empty(len(user))
    for f in range(n_folds):
        held_out = fold[of_row] == f
        if len(np.unique(outcome[~held_out])) < 2:
            raise ValueError(f"outcome: expected both values among users outside fold {f}, got one")
        model = _classifier(kind, seed).fit(features[~held_out], outcome[~held_out])
        predicted[held_out] = model.predict_proba(features[held_out])[:, 1]
        models.append(model)
    return ResponseModel(kind, tuple(models), frozen(users.astype(np.int64)), frozen(fold), frozen(predicted))


def user_folds(n_users: int, n_folds: int, seed: int) -> IntArray:
    """(n_users,) a random fold of each user, from 0; sizes differ by at most 1."""
    return np.random.default_rng(seed).permutation(np.arange(n_users) % n_folds)


def fit_stops(
    features: FloatArray,
    slot_offsets: IntArray,
    depth: IntArray,
    user: IntArray,
    *,
    kind: Kind = "logistic",
    seed: int = 0,
) -> ResponseModel:
    """The discrete hazard P(stop reading at this slot | looked at, features, position), cross-fitted by user.

    Only slots that were looked at and that had more below count. `eval.browsing.cascade_examination` of
    `stop_chances` is the chance that each slot is looked at. For one logistic regression with standard errors
    see `eval.browsing_fit.fit_hazard`.

    Args:
        features: (s, d) finite, of every slot; the position is added.
        slot_offsets: (n + 1,).
        depth: (n,) slots looked at.
        user: (n,) integer codes.
        kind: as for `fit_response`.
        seed: as for `fit_response`.

    Raises:
        ValueError: as `fit_response`, on the slots at risk.

    Source: Singer and Willett, It's about time: using discrete-time survival analysis, 1993, equation 6.
    """
    risk, stop = slots_at_risk(slot_offsets, depth)
    of_slot = np.repeat(user, np.diff(slot_offsets))
    rows = _with_position(features, slot_offsets)
    return fit_response(rows[risk], stop[risk], of_slot[risk], kind=kind, seed=seed)


def stop_chances(
    model: ResponseModel, features: FloatArray, slot_offsets: IntArray, user: IntArray
) -> FloatArray:
    """(s,) chance to stop at each slot once it is looked at, of any slates, such as the target's.

    Raises:
        ValueError: lengths that differ, or features that are not finite.
    """
    return model.predict(_with_position(features, slot_offsets), np.repeat(user, np.diff(slot_offsets)))


def _with_position(features: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(s, d + FREE) the features and an indicator of each rank but the first, the last for all from it on."""
    position = np.minimum(slot_positions(slot_offsets), FREE)
    return np.hstack([features, position[:, None] == np.arange(1, FREE + 1)])


def _classifier(kind: Kind, seed: int) -> Classifier:
    try:
        if kind == "logistic":
            from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
            from sklearn.pipeline import make_pipeline  # noqa: PLC0415
            from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

            made: Classifier = make_pipeline(StandardScaler(), LogisticRegression(C=10.0, max_iter=1000))
            return made
        from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415

        trees: Classifier = HistGradientBoostingClassifier(
            max_iter=200, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=50, random_state=seed
        )
        return trees
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'response models: expected scikit-learn, got none; pip install "harm-aware-reranker[eval]"'
        ) from error


def _check_rows(features: FloatArray, user: IntArray, outcome: BoolArray | None = None) -> None:
    if (
        features.ndim != 2
        or len(features) != len(user)
        or (outcome is not None and len(outcome) != len(user))
    ):
        raise ValueError(
            f"features: expected a row of (m, d) per user code, got {features.shape}, {len(user)}"
        )
    if not np.isfinite(features).all():
        row = int((~np.isfinite(features)).any(axis=1).argmax())
        raise ValueError(f"features: expected finite numbers, got {features[row].tolist()} at row {row}")
