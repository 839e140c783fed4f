"""The effect of a change that only some users meet, diluted to everyone.

It needs a log of who would have met the change in the control (counterfactual triggering). Then the
untriggered of the two arms were treated alike, and their difference is noise that can be left out.
"""

import numpy as np

from eval.arms import ArmMeans, arm_means
from reranker.columns import BoolArray, FloatArray


def diluted_means(
    treated: BoolArray, triggered: BoolArray, numerator: FloatArray, denominator: FloatArray | None = None
) -> ArmMeans:
    """The two arms as all users would be: the arm's triggered, and the untriggered of both together.

    The totals are mixed by the share that triggers, then divided, which is right for ratios too; the effect
    on the triggered times their share is right for means only. Valid where the untriggered were treated
    alike and triggering does not depend on the arm.

    Args:
        treated: (n,) per user.
        triggered: (n,) users who met the change, or would have in the control.
        numerator: (n,) total of each user.
        denominator: (n,) total of each user; None counts users.

    Raises:
        ValueError: an arm with fewer than 2 triggered users, or values that are not finite.

    Source: Deng and Hu, Diluted treatment effect estimation for trigger analysis in online controlled
    experiments, 2015, section 3.
    """
    below = np.ones(len(numerator)) if denominator is None else denominator
    arm_means(treated[triggered], numerator[triggered], below[triggered])  # checks
    n = len(treated)
    share = triggered.mean()
    rest = ~triggered
    values, influence = [], np.empty((2, n))
    for arm, members in enumerate((triggered & ~treated, triggered & treated)):
        mixed = []
        for column in (numerator, below):
            mean = column[members].mean()
            other = column[rest].mean() if rest.any() else 0.0
            error = (mean - other) * (triggered - share) / n
            error[members] += share * (column[members] - mean) / members.sum()
            if rest.any():
                error[rest] += (1 - share) * (column[rest] - other) / rest.sum()
            mixed.append((share * mean + (1 - share) * other, error))
        (above, above_error), (under, under_error) = mixed
        values.append(float(above / under))
        influence[arm] = (above_error - values[arm] * under_error) / under
    return ArmMeans((values[0], values[1]), influence, treated)
