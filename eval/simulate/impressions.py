"""Requests of the test bed as an `ImpressionLog`, as a product would have logged them: without the truth."""

import numpy as np

from eval.simulate.parameters import ACTIONS
from eval.simulate.testbed import Logged
from reranker.columns import StringColumn
from reranker.impressions import ImpressionLog

LABEL = "any_harm"


def impression_log(found: Logged) -> ImpressionLog:
    """What a logger would have written down; its score is the logarithm of the weighted sum.

    Compare policies on it with `scale="log"`. Users are u0, u1 and so on, requests r0, r1; the one label of
    harm is `LABEL`.
    """
    n, c = len(found.user), len(found.score)
    return ImpressionLog(
        request_id=StringColumn.from_values(f"r{r}" for r in range(n)),
        user=StringColumn.from_values(f"u{u}" for u in found.user.tolist()),
        offsets=found.offsets,
        item_id=np.arange(c, dtype=np.int64),
        score=found.score,
        slot_offsets=found.slot_offsets,
        slate=found.slate,
        log_prefix_propensity=found.log_prefix_propensity,
        p_action={name: found.p_action[:, a].copy() for a, name in enumerate(ACTIONS)},
        harm={LABEL: found.harm},
        viewed=found.viewed,
        action={name: found.action[:, a].astype(np.float32) for a, name in enumerate(ACTIONS)},
        temperature=np.full(n, found.temperature),
        from_rank=np.ones(n, dtype=np.int64),
        n_total=np.diff(found.offsets),
    )
