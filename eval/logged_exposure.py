"""Level L0 of a comparison on a log: harm where posts would stand, which needs no propensities."""

from dataclasses import replace

import numpy as np

from eval.browsing import Status, status_over_models
from eval.harm_views import HarmChange, harm_change
from eval.logged_plan import Plan
from eval.logged_request import RequestValues
from eval.logged_rows import LoggedRow

WORST: tuple[Status, ...] = ("REFUSED", "MODEL_ONLY", "BOUNDED", "IDENTIFIED")


def exposure_rows(values: RequestValues, plan: Plan, models: tuple[str, ...]) -> tuple[LoggedRow, ...]:
    """L0: harm per 1,000 views where posts would stand, under two browsing models.

    The numbers are of the first model; the status is the worst under any.
    """
    known = values.both_known
    users = np.unique(values.user[known], return_inverse=True)[1].astype(np.int64)
    kept = np.repeat(known, values.n_shown)
    offsets = np.concatenate(([0], np.cumsum(values.n_shown[known]))).astype(np.int64)
    rows = []
    for h, label in enumerate(plan.harms):
        row = LoggedRow(
            f"harm_prevalence.{label}", "L0", f"re-ranking, browsing models {' and '.join(models)}", "REFUSED"
        )
        try:
            found = [
                harm_change(
                    first[kept], second[kept], values.harm[h, kept],
                    offsets=offsets, cluster=users, day=np.maximum(values.day[known], -1),
                )
                for first, second in values.seen
            ]  # fmt: skip
        except ValueError as error:
            rows.append(replace(row, reasons=(str(error),)))
            continue
        rows.append(_exposure_row(row, found))
    return tuple(rows)


def _exposure_row(row: LoggedRow, found: list[HarmChange]) -> LoggedRow:
    status = min((one.status for one in found), key=WORST.index)
    reasons = tuple(dict.fromkeys(reason for one in found for reason in one.reasons))
    main, changes = found[0], [one.difference for one in found if one.difference is not None]
    if status == "REFUSED" or len(changes) < len(found) or main.first is None or main.second is None:
        return replace(row, reasons=reasons)
    if status_over_models(changes) == "MODEL_ONLY":
        status = min(status, "MODEL_ONLY", key=WORST.index)
        reasons = (*reasons, "browsing models: expected one sign of the change, got two")
    low, high, bounds = changes[0].low, changes[0].high, None
    if status == "BOUNDED":
        bounds = main.difference_bounds
        low, high = min(low, bounds[0]), max(high, bounds[1])
    return replace(
        row,
        status=status,
        reasons=reasons,
        original=main.first.value,
        treatment=main.second.value,
        change=changes[0],
        low=low,
        high=high,
        bounds=bounds,
        relative=main.relative,
        ends=(changes[0],) if bounds is None else tuple(replace(changes[0], value=end) for end in bounds),
    )
