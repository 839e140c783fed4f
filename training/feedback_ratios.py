"""Effects of feedback and their ratios to that of a like, by either model and by a plain regression."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reranker.columns import FloatArray, IntArray
from reranker.fieller import fieller
from training.feedback_controls import controls_of
from training.feedback_counts import count_model
from training.feedback_experiment import UNIT, FeedbackExperiment
from training.feedback_instruments import Interval, effect_set, effects, ratio_set
from training.feedback_reduced_form import ReducedForm, independent, reduced_form


@dataclass(frozen=True)
class Ratio:
    """What one unit of a signal does, and what that is in likes; intervals are 95% and may be infinite.

    Attributes:
        signal: its name.
        effect: additional posts per unit, or the change of the log rate.
        effect_interval: of it.
        weight: the effect over that of a like.
        weight_interval: of it; 1 and 1 for the like.
    """

    signal: str
    effect: float
    effect_interval: Interval
    weight: float
    weight_interval: Interval

    def shown(self) -> dict[str, object]:
        """The same for JSON: None where an end is infinite."""
        low, high = (None if math.isinf(end) else end for end in self.effect_interval)
        below, above = (None if math.isinf(end) else end for end in self.weight_interval)
        return {
            "signal": self.signal,
            "effect": self.effect,
            "low": low,
            "high": high,
            "weight": self.weight,
            "weight_low": below,
            "weight_high": above,
        }


def linear_ratios(form: ReducedForm, names: Sequence[str]) -> list[Ratio]:
    """By instrumental variables, each unit adding posts; intervals hold with weak instruments too."""
    found, _ = effects(form)
    unit = names.index(UNIT)
    return [
        Ratio(
            name,
            float(found[i]),
            effect_set(form, i),
            float(found[i] / found[unit]),
            (1.0, 1.0) if i == unit else ratio_set(form, i, unit),
        )
        for i, name in enumerate(names)
    ]


def count_ratios(experiment: FeedbackExperiment, author: IntArray) -> list[Ratio]:
    """By the count model, each unit multiplying the rate of posts; intervals of ratios are Fieller's.

    Raises:
        ValueError: the model has no solution.
    """
    names = experiment.boosted
    found = count_model(
        experiment.posts,
        experiment.received_of(names).T,
        experiment.assigned.T,
        controls=independent(controls_of(experiment, logs=True)),
        cluster=author,
    )
    return _wald_ratios(names, found.effects, found.covariance, n_clusters=int(author.max()) + 1)


def plain_ratios(experiment: FeedbackExperiment, author: IntArray) -> list[Ratio]:
    """By least squares of posts on feedback with the same controls: confounded, for a warning alone.

    Raises:
        ValueError: the kinds of feedback are collinear.
    """
    names = experiment.boosted
    controls = controls_of(experiment, logs=False)
    received = experiment.received_of(names).T
    form = reduced_form(received, experiment.posts[:, None], controls, author)
    covariance = form.covariance_of(np.ones(1))
    return _wald_ratios(names, form.coefficients[:, 0], covariance, n_clusters=form.n_clusters)


def _wald_ratios(
    names: Sequence[str], found: FloatArray, covariance: FloatArray, *, n_clusters: int
) -> list[Ratio]:
    t = float(stats.t.ppf(0.975, n_clusters - 1))
    unit = names.index(UNIT)
    made = []
    for i, name in enumerate(names):
        half = t * float(np.sqrt(covariance[i, i]))
        low, high = 0.0, 0.0
        if i != unit:
            entries = (covariance[unit, unit], covariance[unit, i], covariance[i, i])
            low, high = fieller((found[unit], found[i]), entries, t)
        made.append(
            Ratio(
                name,
                float(found[i]),
                (float(found[i]) - half, float(found[i]) + half),
                float(found[i] / found[unit]),
                (low + 1, high + 1),
            )
        )
    return made
