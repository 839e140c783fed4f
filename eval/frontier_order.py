"""The order of one request's candidates down to what is shown, and what that exposes people to, compiled."""

import numpy as np

from eval.frontier_columns import At, Candidates, Room, Settings
from eval.kernel import compiled
from reranker.columns import FloatArray

SHORT = 12  # runs that are sorted by insertion
SHOWN_BY_INSERTION = 64  # posts shown up to which the top is kept sorted, and the rest never is
REMOVED = 2  # band of posts that are not in the order; those over an author's cap are in band 1


@compiled
def _before(room: Room, a: int, b: int) -> bool:
    """Whether local row a stands above row b."""
    if room.band[a] != room.band[b]:
        return bool(room.band[a] < room.band[b])
    if room.score[a] != room.score[b]:
        return bool(room.score[a] > room.score[b])
    return bool(room.tie[a] < room.tie[b])


@compiled
def _sort(room: Room, low: int, high: int) -> None:
    """Sort room.order[low:high] so that each stands above the next; runs that wait are in room.waiting."""
    order, waiting, n_waiting = room.order, room.waiting, 1
    waiting[0, 0], waiting[0, 1] = low, high
    while n_waiting > 0:
        n_waiting -= 1
        low, high = waiting[n_waiting, 0], waiting[n_waiting, 1]
        while high - low > SHORT:
            pivot, i, j = order[(low + high) >> 1], low, high - 1
            while i <= j:
                while _before(room, order[i], pivot):
                    i += 1
                while _before(room, pivot, order[j]):
                    j -= 1
                if i <= j:
                    order[i], order[j] = order[j], order[i]
                    i += 1
                    j -= 1
            if j + 1 - low < high - i:  # the longer side waits, so that at most log2(n) do
                waiting[n_waiting, 0], waiting[n_waiting, 1] = i, high
                high = j + 1
            else:
                waiting[n_waiting, 0], waiting[n_waiting, 1] = low, j + 1
                low = i
            n_waiting += 1
        for at in range(low + 1, high):
            one, to = order[at], at
            while to > low and _before(room, one, order[to - 1]):
                order[to] = order[to - 1]
                to -= 1
            order[to] = one


@compiled
def spread_authors(candidates: Candidates, settings: Settings, room: Room, at: At) -> None:
    """Lower the further posts of each author, and put those over the cap into a later band."""
    p, low, n = at
    for i in range(n):
        room.order[i] = candidates.by_author[low + i]
    first = 0
    while first < n:
        author, last = candidates.author[low + room.order[first]], first + 1
        while last < n and candidates.author[low + room.order[last]] == author:
            last += 1
        if author >= 0 and last - first > 1:
            _sort(room, first, last)
            for place in range(last - first):
                i = room.order[first + place]
                if room.band[i] == REMOVED:
                    break
                if settings.diversity.shape[1]:
                    kept, score = settings.diversity[p, place], room.score[i]
                    room.score[i] = score * kept if score >= 0.0 else score * (2.0 - kept)
                if 0 < settings.author_cap <= place:
                    room.band[i] = 1
        first = last


@compiled
def top_of(room: Room, n: int, shown: int) -> int:
    """Write the rows shown to room.order, best first; how many."""
    if shown > SHOWN_BY_INSERTION:
        filled = 0
        for i in range(n):
            if room.band[i] < REMOVED:
                room.order[filled] = i
                filled += 1
        _sort(room, 0, filled)
        return min(filled, shown)
    order, filled = room.order, 0
    for i in range(n):
        if room.band[i] == REMOVED or (filled == shown and not _before(room, i, order[shown - 1])):
            continue
        at = filled if filled < shown else shown - 1
        while at > 0 and _before(room, i, order[at - 1]):
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
        filled = min(filled + 1, shown)
    return filled


@compiled
def expose(candidates: Candidates, room: Room, low: int, filled: int, out: FloatArray) -> None:
    """Write the weighted mean of each outcome over what is shown, NaN where nothing shown has a value."""
    for m in range(len(out)):
        total = weight = 0.0
        for place in range(filled):
            value = candidates.outcomes[low + room.order[place], m]
            if not np.isnan(value):
                total += candidates.seen[place] * value
                weight += candidates.seen[place]
        out[m] = total / weight if weight > 0.0 else np.nan
