"""The score of one request's candidates under one of many policies, compiled.

Each step adds and multiplies in the order in which `reranker.scoring` does, without fast-math, so that what
ties there ties here.
"""

import numpy as np

from eval.frontier_columns import At, Candidates, Room, Settings
from eval.kernel import compiled
from reranker.columns import FloatArray, IntArray
from reranker.scoring import LEAST_KEPT


@compiled
def make_room(candidates: Candidates, requests: IntArray) -> Room:
    """Room for the longest of these requests."""
    longest = 0
    for r in requests:
        longest = max(longest, candidates.offsets[r + 1] - candidates.offsets[r])
    n_signals, n_labels = candidates.gain.shape[0], candidates.probability.shape[1]
    return Room(
        np.empty((n_signals, longest)),
        np.empty((n_signals, longest)),
        np.empty((n_labels, longest)),
        np.empty((n_labels, longest)),
        np.empty(n_signals),
        np.empty(n_signals),
        np.empty((4, longest)),
        np.empty((4, longest)),
        np.empty((3, longest)),
        np.empty(longest),
        np.empty(longest, dtype=np.int8),
        np.empty(longest, dtype=np.int64),
        np.empty(longest, dtype=np.int64),
        np.empty((64, 2), dtype=np.int64),
    )


@compiled
def load_request(candidates: Candidates, room: Room, low: int, n: int) -> None:
    """Copy one request to where all policies read it."""
    for j in range(candidates.gain.shape[0]):
        room.gain[j, :n] = candidates.gain[j, low : low + n]
        room.loss[j, :n] = candidates.loss[j, low : low + n]
    for label in range(candidates.probability.shape[1]):
        for i in range(n):
            room.harm[label, i] = candidates.probability[low + i, label]
            room.sure[label, i] = candidates.confidence[low + i, label]
    room.tie[:n] = candidates.original[low : low + n]


@compiled
def fill_multiplier(
    candidates: Candidates, closeness: FloatArray, low: int, totals: bool, out: FloatArray
) -> None:
    """Write media boost times closeness; single acts carry their closeness already."""
    for i in range(len(out)):
        one = candidates.media[low + i] if candidates.media.size else 1.0
        if totals:
            one *= closeness[candidates.relation[low + i]]  # -1 is the last: unknown
        out[i] = one


@compiled
def fill_guard(candidates: Candidates, settings: Settings, room: Room, at: At) -> None:
    """Write what the guard leaves of each signal; room.spare holds the multipliers of totals and acts."""
    p, low, n = at
    most, others = settings.most_of_a_signal[p], 0.0
    room.factor[:] = 1.0
    if most == 1.0:
        return
    for j in range(len(room.sums)):
        total = 0.0
        if settings.weights[p, :, j].max() > 0.0:
            x, scale = room.gain[j], room.spare[0 if j < candidates.n_totals else 1]
            for i in range(n):
                own = candidates.weight_class[low + i] if candidates.weight_class.size else 0
                weight = settings.weights[p, own, j]
                if weight > 0.0:
                    total += weight * x[i] * scale[i]
        room.sums[j] = total
        others += total
    for j in range(len(room.sums)):
        own_sum = room.sums[j]
        rest = others - own_sum
        over = own_sum * (1.0 - most) > most * rest and rest > 1e-9 * own_sum
        if over and j != candidates.liked:
            room.factor[j] = max(most / (1.0 - most) * rest / own_sum, LEAST_KEPT)


@compiled
def add_gains(candidates: Candidates, settings: Settings, room: Room, at: At) -> None:
    """Write room.total: positive, endorsed anyway, endorsed with quality, negative."""
    p, low, n = at
    room.total[:, :n] = 0.0
    for totals in (True, False):
        first = 0 if totals else candidates.n_totals
        last = candidates.n_totals if totals else candidates.gain.shape[0]
        scale = room.spare[0 if totals else 1]
        group = room.group
        group[:, :n] = 0.0
        for j in range(first, last):
            x, kept = room.gain[j], room.factor[j]
            anyway, scaled = settings.endorsed[p, 0, j], settings.endorsed[p, 1, j]
            if candidates.weight_class.size == 0:
                weight = settings.weights[p, 0, j]
                if weight <= 0.0:
                    continue
                weight *= kept
                for i in range(n):
                    gain = weight * x[i]
                    group[0, i] += gain
                    group[1, i] += anyway * gain
                    group[2, i] += scaled * gain
            else:
                for i in range(n):
                    weight = settings.weights[p, candidates.weight_class[low + i], j]
                    if weight > 0.0:
                        gain = weight * kept * x[i]
                        group[0, i] += gain
                        group[1, i] += anyway * gain
                        group[2, i] += scaled * gain
        for k in range(3):
            for i in range(n):
                room.total[k, i] += group[k, i] * scale[i]


@compiled
def add_losses(candidates: Candidates, settings: Settings, room: Room, at: At) -> None:
    """Add to room.total what speaks against a post, group by group, and the computing load."""
    p, low, n = at
    for totals in (True, False):
        first = 0 if totals else candidates.n_totals
        last = candidates.n_totals if totals else candidates.gain.shape[0]
        group = room.group[3]
        group[:n] = 0.0
        for j in range(first, last):
            x = room.loss[j]
            if candidates.weight_class.size == 0:
                weight = settings.weights[p, 0, j]
                if weight < 0.0:
                    for i in range(n):
                        group[i] += weight * x[i]
            else:
                for i in range(n):
                    weight = settings.weights[p, candidates.weight_class[low + i], j]
                    if weight < 0.0:
                        group[i] += weight * x[i]
        for i in range(n):
            room.total[3, i] += group[i]
    if candidates.cost.size:
        for i in range(n):
            room.total[3, i] -= candidates.cost[low + i]


@compiled
def lower_by(quality: FloatArray, weight: float, harm: FloatArray) -> None:
    """Take a weighted harm off the quality of each row."""
    if weight != 0.0:
        for i in range(len(quality)):
            quality[i] *= 1.0 - weight * harm[i]


@compiled
def judge_harm(candidates: Candidates, settings: Settings, room: Room, at: At) -> None:
    """Write quality to room.spare[0] and the demotions to room.spare[1]."""
    p, low, n = at
    quality, multiplier, unknown = room.spare[0], room.spare[1], room.spare[2]
    quality[:n], multiplier[:n], unknown[:n] = 1.0, 1.0, 0.0
    for h in range(settings.harms.shape[1]):
        column, weight = room.harm[settings.harm_columns[h]], settings.harms[p, h]
        for i in range(n):
            x = column[i]
            quality[i] *= 1.0 - weight * (0.0 if np.isnan(x) else x)
    for c in range(settings.curves.shape[1]):
        column, sure = room.harm[settings.curve_columns[c]], room.sure[settings.curve_columns[c]]
        start, line = settings.curves[p, c, 0], settings.curves[p, c, 1]
        depth_at_line = 1.0 - settings.curves[p, c, 2]
        if start < 0.0:  # this policy has no such demotion
            continue
        for i in range(n):
            x = column[i]
            if x >= start:
                depth = 1.0 if x >= line else (x - start) / (line - start)
                multiplier[i] *= 1.0 - sure[i] * depth_at_line * depth
            elif np.isnan(x):
                unknown[i] = 1.0
    if settings.unscored[p] != 1.0:
        for i in range(n):
            if unknown[i] == 1.0:
                multiplier[i] *= settings.unscored[p]
    lower_by(quality[:n], settings.comment_toxicity[p], candidates.comment_toxicity[low : low + n])
    lower_by(quality[:n], settings.angry_share[p], candidates.angry_share[low : low + n])
    for d in range(candidates.others.shape[0]):
        for i in range(n):
            multiplier[i] *= candidates.others[d, low + i]


@compiled
def fill_base_score(candidates: Candidates, bad_weight: float, room: Room, low: int, n: int) -> None:
    """Write room.score, the score before the bound, and room.group[0], what the bound is fitted to."""
    for i in range(n):
        positive, negative = room.total[0, i], room.total[3, i]
        good = room.total[1, i] + room.total[2, i] * room.spare[0, i]
        both = positive + negative
        base = both
        if bad_weight == 0.0:
            base = good + negative
        elif bad_weight != 1.0:
            base = good + bad_weight * (positive - good) + negative
        if candidates.labels.size:
            base += candidates.labels[low + i]
        room.group[0, i], room.score[i] = both, base


@compiled
def _nth(values: FloatArray, n: int, k: int) -> float:
    """The k-th least of the first n values, which are rearranged so that it divides them."""
    low, high = 0, n - 1
    while low < high:
        pivot, i, j = values[(low + high) >> 1], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return float(values[k])


@compiled
def _median(values: FloatArray, n: int) -> float:
    """The median of the first n values, as `request_medians` rounds it; rearranges them."""
    upper = _nth(values, n, n // 2)
    lower = upper if n % 2 else values[: n // 2].max()
    return 0.5 * lower + 0.5 * upper


@compiled
def bound_scores(room: Room, n: int) -> None:
    """Turn room.score into its bounded form; the reference is room.group[0]."""
    reference, other = room.group[0], room.group[1]
    other[:n] = reference[:n]
    least = other[:n].min()
    centre = _median(other, n)
    scale = abs(centre)
    if least < 0.0 or scale == 0.0:
        for i in range(n):
            other[i] = abs(reference[i] - centre)
        largest = other[:n].max()
        spread = max(scale, _median(other, n))
        scale = spread if spread > 0.0 else (largest if largest > 0.0 else 1.0)
    for i in range(n):
        distance = room.score[i] - centre
        half = 0.5 * scale / (scale + abs(distance))
        room.score[i] = 1.0 - half if distance >= 0.0 else half
