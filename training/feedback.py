"""`fit_feedback(experiment)`: what a comment is worth in likes, by what extra feedback made authors post.

Some authors were given a little more of one kind of feedback, at random. The additional original posts per
unit of each kind, over those per like, are the weights. Only the randomised part of the feedback is used:
a plain regression, shown beside as a warning, mistakes popularity for an effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reranker.columns import FloatArray
from training.feedback_checks import (
    ArmSizes,
    Imbalance,
    check_design,
    check_doses,
    check_received,
    check_sizes,
    imbalances,
)
from training.feedback_controls import arm_columns, controls_of, place_columns
from training.feedback_experiment import FeedbackExperiment, Model
from training.feedback_instruments import conditional_f, least_wald
from training.feedback_ratios import Ratio, count_ratios, linear_ratios, plain_ratios
from training.feedback_reduced_form import ReducedForm, orthonormal, reduced_form


@dataclass(frozen=True)
class FirstStage:
    """How much feedback a dose added.

    Attributes:
        signal: its name.
        added: received per unit assigned.
        standard_error: of it.
        f: strength as an instrument, beyond that of the other doses; effective F.
    """

    signal: str
    added: float
    standard_error: float
    f: float


@dataclass(frozen=True)
class ArmEffect:
    """What an arm did to posts by intention to treat, whoever received how much.

    Attributes:
        arm: its name.
        assigned: mean doses of its rows, by signal.
        n_rows: of it.
        posts: mean of them.
        effect, low, high: additional posts per row against the control, 95%; None for the control.
    """

    arm: str
    assigned: Mapping[str, float]
    n_rows: int
    posts: float
    effect: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class FeedbackFit:
    """What an experiment says, by both models.

    Attributes:
        experiment: the rows.
        sizes: of the arms, tested.
        balance: tests that the arms were alike before.
        arms: effects by intention to treat, the control first.
        first_stage: of each boosted signal.
        linear: effects and weights if each unit adds posts.
        poisson: the same if each unit multiplies their rate; None where that has no solution.
        plain: what a plain regression says: confounded, for a warning alone.
        linearity_p: of the test that one effect per unit explains all arms; None where no arm is spare.
    """

    experiment: FeedbackExperiment
    sizes: ArmSizes
    balance: tuple[Imbalance, ...]
    arms: tuple[ArmEffect, ...]
    first_stage: tuple[FirstStage, ...]
    linear: tuple[Ratio, ...]
    poisson: tuple[Ratio, ...] | None
    plain: tuple[Ratio, ...]
    linearity_p: float | None

    def by(self, model: Model) -> tuple[Ratio, ...]:
        """The effects and weights by one model.

        Raises:
            ValueError: the Poisson model has no solution.
        """
        if model == "linear":
            return self.linear
        if self.poisson is None:
            raise ValueError(
                "posts: expected counts that the Poisson model can be fitted to, got no solution"
            )
        return self.poisson


def fit_feedback(experiment: FeedbackExperiment, *, shares: Mapping[str, float] | None = None) -> FeedbackFit:
    """Effects of each boosted signal and their ratios to that of a like, with 95% intervals.

    Errors are clustered by author. Estimates are adjusted for country, period and counts from before.

    Args:
        experiment: with a control, an arm that boosts likes and one that boosts something else.
        shares: planned, by arm; None is equal ones.

    Raises:
        ValueError: the experiment cannot tell any weight, or its arms have not the planned sizes.
    """
    check_design(experiment)
    sizes = check_sizes(experiment, shares)
    controls = controls_of(experiment, logs=False)
    doses, names = experiment.assigned.T, experiment.boosted
    spanned = orthonormal(controls)
    check_doses(experiment, spanned)
    check_received(experiment, spanned)
    author = np.unique(experiment.author, return_inverse=True)[1].astype(np.int64)
    outcomes = np.column_stack([experiment.posts, experiment.received_of(names).T])
    form = reduced_form(doses, outcomes, controls, author)
    arms = arm_columns(experiment)
    by_arm = reduced_form(arms, outcomes, controls, author)
    try:
        poisson = tuple(count_ratios(experiment, author))
    except ValueError:  # told in the evidence: the linear model stands without it
        poisson = None
    return FeedbackFit(
        experiment=experiment,
        sizes=sizes,
        balance=tuple(imbalances(experiment, arms, place_columns(experiment))),
        arms=tuple(_arm_effects(experiment, by_arm)),
        first_stage=tuple(_first_stage(form, name, i) for i, name in enumerate(names)),
        linear=tuple(linear_ratios(form, names)),
        poisson=poisson,
        plain=tuple(plain_ratios(experiment, author)),
        linearity_p=_linearity(by_arm, len(names)),
    )


def _first_stage(form: ReducedForm, name: str, i: int) -> FirstStage:
    error = float(np.sqrt(form.covariance[i + 1, i, i + 1, i]))
    return FirstStage(name, float(form.coefficients[i, i + 1]), error, conditional_f(form, i))


def _arm_effects(experiment: FeedbackExperiment, form: ReducedForm) -> list[ArmEffect]:
    half = np.sqrt(form.critical * np.diagonal(form.covariance[0, :, 0, :]))
    n_arms, control = len(experiment.arm_names), experiment.control
    rows = np.bincount(experiment.arm, minlength=n_arms)
    doses = np.stack([_means(experiment, row) for row in experiment.assigned])
    posts = _means(experiment, experiment.posts)
    others = [arm for arm in range(n_arms) if arm != control]
    made = []
    for i, arm in enumerate((control, *others), start=-1):
        pairs = zip(experiment.boosted, doses[:, arm], strict=True)
        effect, width = (float(form.coefficients[i, 0]), float(half[i])) if i >= 0 else (None, 0.0)
        made.append(
            ArmEffect(
                arm=experiment.arm_names[arm],
                assigned={name: float(dose) for name, dose in pairs if dose},
                n_rows=int(rows[arm]),
                posts=float(posts[arm]),
                effect=effect,
                low=None if effect is None else effect - width,
                high=None if effect is None else effect + width,
            )
        )
    return made


def _means(experiment: FeedbackExperiment, values: FloatArray) -> FloatArray:
    """(A,) the mean of the rows of each arm."""
    n_arms = len(experiment.arm_names)
    rows = np.bincount(experiment.arm, minlength=n_arms)
    return np.asarray(np.bincount(experiment.arm, values, minlength=n_arms) / rows, dtype=np.float64)


def _linearity(by_arm: ReducedForm, n_signals: int) -> float | None:
    """The p-value that one effect per unit of each signal explains all arms.

    Source: Hansen, Large sample properties of generalized method of moments estimators, 1982, the test of
    overidentifying restrictions; continuously updated.
    """
    spare = len(by_arm.coefficients) - n_signals
    if spare < 1:
        return None
    return float(stats.chi2.sf(least_wald(by_arm, np.eye(n_signals + 1)), spare))
