"""Many policies on the same candidates, compiled: what each would show of every request.

The signals of a request are read once and stay in the cache while every policy scores it.
"""

import numpy as np

from eval.frontier_columns import At, Candidates, Settings
from eval.frontier_order import REMOVED, expose, spread_authors, top_of
from eval.frontier_scoring import (
    add_gains,
    add_losses,
    bound_scores,
    fill_base_score,
    fill_guard,
    fill_multiplier,
    judge_harm,
    load_request,
    make_room,
)
from eval.kernel import compiled
from reranker.columns import FloatArray, IntArray


@compiled
def measure_policies(candidates: Candidates, settings: Settings, requests: IntArray, out: FloatArray) -> None:
    """Score, order and measure some requests under every policy.

    Args:
        candidates: see `Candidates`.
        settings: see `Settings`.
        requests: (q,) the requests.
        out: (P, q, M) written: the mean of each outcome over what is shown.
    """
    room = make_room(candidates, requests)
    for at in range(len(requests)):
        r = requests[at]
        low, n = candidates.offsets[r], candidates.offsets[r + 1] - candidates.offsets[r]
        if n == 0:
            out[:, at] = np.nan
            continue
        load_request(candidates, room, low, n)
        for p in range(out.shape[0]):
            place = At(p, low, n)
            fill_multiplier(candidates, settings.closeness[p], low, True, room.spare[0, :n])
            fill_multiplier(candidates, settings.closeness[p], low, False, room.spare[1, :n])
            fill_guard(candidates, settings, room, place)
            add_gains(candidates, settings, room, place)
            add_losses(candidates, settings, room, place)
            judge_harm(candidates, settings, room, place)
            fill_base_score(candidates, settings.bad_weight[p], room, low, n)
            if settings.bounded[p]:
                bound_scores(room, n)
            for i in range(n):
                kept, score = room.spare[1, i], room.score[i]
                room.score[i] = score * kept if score >= 0.0 else score * (2.0 - kept)
                room.band[i] = REMOVED if candidates.removed[low + i] else 0
            if settings.diversity.shape[1] or settings.author_cap:
                spread_authors(candidates, settings, room, place)
            filled = top_of(room, n, candidates.shown[r])
            expose(candidates, room, low, filled, out[p, at])
