"""What a policy that is shown to have served a log adds to it: the scores that were drawn by, and how.

A log without scores or temperatures says how likely each slate was, but not how much was drawn at each slot;
the check that weights average 1 is then too strict for logs with heavy tails (`eval.mean_weight`).
"""

import numpy as np

from eval.logged_policy import LogPolicy, rank_log
from reranker.columns import with_changes
from reranker.impressions import ImpressionLog


def with_scores(log: ImpressionLog, policy: LogPolicy) -> ImpressionLog:
    """The log with the scores and temperatures of the policy that served it, where any were not logged."""
    temperature = log.temperature
    if not (np.isnan(log.score).any() or temperature is None or np.isnan(temperature).any()):
        return log
    ranked = rank_log(policy, log)
    return with_changes(
        ImpressionLog, log, score=ranked.score, temperature=ranked.temperature, from_rank=ranked.from_rank
    )
