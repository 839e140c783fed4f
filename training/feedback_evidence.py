"""The weights of a feedback experiment as terms of a policy, and the facts that they rest on."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from training.feedback import FeedbackFit, FirstStage
from training.feedback_experiment import UNIT, Model
from training.feedback_ratios import Ratio
from training.fitted_weights import FittedTerm, FittedWeights

WEAK_F = 10.0
LINEARITY_P = 0.01
CONFOUNDED = "confounded: what a plain regression would say of the same rows; never a weight"
ASSUMPTIONS = (
    "doses were assigned at random, and changed posts through the feedback counted here alone",
    "feedback given to one author does not change what others post",
    "a unit of feedback does the same whether it was added or came by itself",
)


def weights_of(fit: FeedbackFit, *, model: Model = "linear") -> FittedWeights:
    """The weights in likes, with 95% intervals; one that is not identified has no value and says why.

    Args:
        fit: of an experiment.
        model: "linear", each unit of feedback adds posts; "poisson", it multiplies their rate.

    Raises:
        ValueError: the Poisson model was asked for and has no solution.
    """
    chosen, rows = fit.by(model), fit.experiment
    terms = [FittedTerm(UNIT, "weight", 1.0, 1.0, 1.0, rows.n, "")]
    unit = next(one for one in chosen if one.signal == UNIT)
    of_unit = next(stage for stage in fit.first_stage if stage.signal == UNIT)
    weakest = min(fit.first_stage, key=_strength)
    for one, stage in zip(chosen, fit.first_stage, strict=True):
        if one.signal != UNIT:
            why = _unidentified(one, unit, weakest if model == "poisson" else None)
            lesser = min(stage, of_unit, key=_strength)
            weak = f"weak instrument of {lesser.signal}: F = {lesser.f:.1f}" if lesser.f < WEAK_F else ""
            value, low, high = (None, None, None) if why else (one.weight, *one.weight_interval)
            warning = "; ".join(text for text in (why, weak) if text)
            terms.append(FittedTerm(one.signal, "weight", value, low, high, rows.n, warning))
    for name in rows.signals:
        if name not in rows.boosted:
            why = "not identified: no arm boosted it"
            terms.append(FittedTerm(name, "weight", None, None, None, rows.n, why))
    return FittedWeights("feedback", tuple(terms), facts_of(fit, model))


def facts_of(fit: FeedbackFit, model: Model) -> dict[str, object]:
    """What the weights rest on, for JSON."""
    rows = fit.experiment
    return {
        "unit": UNIT,
        "model": model,
        "n_rows": rows.n,
        "n_authors": rows.n_authors,
        "data_sha256": rows.digest(),
        "adjusted_for": [*rows.places, *(f"before_{name}" for name in rows.before)],
        "assumptions": list(ASSUMPTIONS),
        "warnings": warnings_of(fit),
        "arm_sizes": asdict(fit.sizes),
        "arms": [asdict(one) for one in fit.arms],
        "first_stage": [asdict(one) for one in fit.first_stage],
        "linear": {"effect": "additional posts per unit", "signals": _shown(fit.linear)},
        "poisson": {
            "effect": "change of the log rate of posts per unit",
            "signals": _shown(fit.poisson or ()),
        },
        "plain_regression": {"warning": CONFOUNDED, "signals": _shown(fit.plain)},
        "balance": [asdict(one) for one in fit.balance],
        "linearity_p": fit.linearity_p,
    }


def warnings_of(fit: FeedbackFit) -> list[str]:
    """What speaks against the experiment as a whole."""
    found = [
        f"before_{one.covariate} differed between the arms before the experiment (p = {one.p:.2g}): "
        "look for a broken randomisation"
        for one in fit.balance
        if one.warned
    ]
    if fit.linearity_p is not None and fit.linearity_p < LINEARITY_P:
        found.append(
            f"the arms do not agree on one effect per unit (p = {fit.linearity_p:.2g}): larger doses do "
            "less or more than in proportion, or an arm did more than give feedback"
        )
    if fit.poisson is None:
        found.append("the Poisson model has no solution")
    return found


def _unidentified(one: Ratio, unit: Ratio, weakest: FirstStage | None) -> str:
    """Why a weight has no value; "" where it has one."""
    if unit.effect_interval[1] < 0:
        return "not identified: likes were found to lower posts, so that they cannot be the unit"
    if weakest is not None and weakest.f < WEAK_F:
        return (
            f"not identified: the dose of {weakest.signal} is a weak instrument (F = {weakest.f:.1f}), with "
            "which the intervals of the Poisson model do not hold"
        )
    if np.isinf(one.weight_interval).any():
        low, high = unit.effect_interval
        if low > 0:
            return "not identified: the interval of the weight has no end"
        return (
            "not identified: the interval of the weight has no end, as the effect of a like "
            f"({unit.effect:.3g}, {low:.3g} to {high:.3g}) is not told from 0"
        )
    return ""


def _strength(stage: FirstStage) -> float:
    return stage.f


def _shown(ratios: Sequence[Ratio]) -> list[dict[str, object]]:
    return [one.shown() for one in ratios]
