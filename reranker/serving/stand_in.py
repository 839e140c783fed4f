"""`StandIn`: a quicker scorer for the posts of a ranking that the scorer of the server did not score in time.

It runs in a thread of its own, so that it is not behind the queue that it stands in for. What it finds is not
kept: the scores that were asked for still come, for the next request.
"""

import asyncio

import numpy as np
from numpy.typing import NDArray

from models.scores import Content, HarmScores, Scorer


class StandIn:
    """A second scorer, called by one thread at a time."""

    def __init__(self, scorer: Scorer) -> None:
        """Starts nothing; the scorer is called with the first post."""
        self._scorer = scorer
        self._turn = asyncio.Lock()

    async def fill(self, scores: HarmScores, content: Content, rows: NDArray[np.bool_]) -> HarmScores:
        """The scores (n posts) with those rows (n,) as this scorer has them.

        A label that it does not serve stays as it was in `scores`, and a post that it cannot judge too.
        Whatever the scorer raises comes through.
        """
        at = np.flatnonzero(rows)
        async with self._turn:
            found = await asyncio.to_thread(self._scorer, content.take(at.tolist()))
        probability, confidence = scores.probability.copy(), scores.confidence.copy()
        for label in set(scores.labels) & set(found.labels):
            column = scores.labels.index(label)
            values, weights = found.column(label)
            judged = ~np.isnan(values)
            probability[at[judged], column] = values[judged]
            confidence[at[judged], column] = weights[judged]
        return HarmScores(scores.labels, probability, confidence, f"{scores.model}, or {found.model}")
