"""What estimates are adjusted for: places, periods and counts from before the assignment, nothing later."""

import numpy as np

from reranker.columns import FloatArray
from training.feedback_experiment import FeedbackExperiment


def place_columns(experiment: FeedbackExperiment) -> FloatArray:
    """(n, q) the intercept, and 0 or 1 for each country and period but the first; null is one of them."""
    columns = [np.ones(experiment.n)]
    for column in experiment.places.values():
        codes = column.codes
        columns += [(codes == code).astype(np.float64) for code in np.unique(codes)[1:]]
    return np.stack(columns, axis=1)


def controls_of(experiment: FeedbackExperiment, *, logs: bool) -> FloatArray:
    """(n, q) the places and the counts from before; 0 where one is not known, and a column that says so.

    Args:
        experiment: whose rows.
        logs: log(1 + count), for a model of rates; else the count itself.
    """
    columns = [place_columns(experiment)]
    for values in experiment.before.values():
        unknown = np.isnan(values)
        filled = np.where(unknown, 0.0, values)
        columns.append((np.log1p(filled) if logs else filled)[:, None])
        if unknown.any():
            columns.append(unknown.astype(np.float64)[:, None])
    return np.concatenate(columns, axis=1)


def arm_columns(experiment: FeedbackExperiment) -> FloatArray:
    """(n, A - 1) 0 or 1 for each arm but the control, in their order."""
    arms = [arm for arm in range(len(experiment.arm_names)) if arm != experiment.control]
    return np.stack([(experiment.arm == arm).astype(np.float64) for arm in arms], axis=1)
