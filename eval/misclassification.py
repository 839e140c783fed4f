"""The prevalence behind an observed one from the errors of a classifier: the last resort without labels."""

ROGAN_GLADEN_WARNING = (
    "valid only if the classifier is as sensitive and as specific under both policies, and where that was "
    "measured; a policy that selects by the score breaks this"
)


def rogan_gladen(observed: float, sensitivity: float, specificity: float) -> tuple[float, str]:
    """The true prevalence behind an observed one, and when that may be believed.

    The last resort where nothing can be labelled; never across policies that select by the score.

    Raises:
        ValueError: a classifier no better than chance.

    Source: Rogan and Gladen, Estimating prevalence from the results of a screening test, 1978.

    Example:
        >>> round(rogan_gladen(0.04, 0.7, 0.98)[0], 10)
        0.0294117647
    """
    return (observed + specificity - 1.0) / _youden(sensitivity, specificity), ROGAN_GLADEN_WARNING


def rogan_gladen_change(observed: float, sensitivity: float, specificity: float) -> tuple[float, str]:
    """The true difference of two prevalences behind an observed one, and when that may be believed.

    Raises:
        ValueError: a classifier no better than chance.
    """
    return observed / _youden(sensitivity, specificity), ROGAN_GLADEN_WARNING


def _youden(sensitivity: float, specificity: float) -> float:
    power = sensitivity + specificity - 1.0
    if not power > 0:
        raise ValueError(f"sensitivity + specificity: expected more than 1, got {power + 1.0}")
    return power
