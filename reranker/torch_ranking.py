"""What many policies would show of the same requests, on the device where the data already lie.

The loops of `eval.kernel.measure_requests` as torch operations: scores by weights, cap and demotion curves,
the top of each request, exposure of its slate. Every sum is made in that loop's order, one operation at a
time and without fused ones, so that float64 gives its numbers and its slates. It pays where tensors are on a
GPU; data in main memory are better left to the compiled loop. Nothing of the ranking imports this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from reranker.impression_codes import UNSCORED, code_table

CELLS_AT_ONCE = 1 << 24  # policies x candidates worked on together: some 1 GB in float64


@dataclass(frozen=True, eq=False)
class DeviceRequests:
    """r requests with c candidates in all, as tensors of one device.

    Attributes:
        offsets: (r + 1,) int64, request i holds candidates offsets[i] to offsets[i + 1].
        p_action: (A, c) probability of each action given a view; float, or uint8 `impression_codes`.
        p_harm: (H, c) probability of each harm, NaN (code 255) where not scored; float, or uint8 codes.
        multiplier: (c,) such as closeness; None is 1.
        stop: (c,) chance of reading no further after the post; None: only the position matters.
    """

    offsets: torch.Tensor
    p_action: torch.Tensor
    p_harm: torch.Tensor
    multiplier: torch.Tensor | None = None
    stop: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.offsets.dtype != torch.int64 or self.offsets.ndim != 1 or not len(self.offsets):
            raise ValueError(f"offsets: expected int64 numbers (r + 1,), got {_described(self.offsets)}")
        if int(self.offsets[0]) != 0 or bool((self.offsets.diff() < 0).any()):
            raise ValueError("offsets: expected numbers from 0 that do not fall")
        n_candidates = int(self.offsets[-1])
        for name, n_dimensions in {"p_action": 2, "p_harm": 2, "multiplier": 1, "stop": 1}.items():
            values: torch.Tensor | None = getattr(self, name)
            if values is None:
                continue
            if values.ndim != n_dimensions or values.shape[-1] != n_candidates:
                raise ValueError(f"{name}: expected {n_candidates} candidates, got {_described(values)}")
            if values.device != self.offsets.device:
                raise ValueError(f"{name}: expected it on {self.offsets.device}, got {values.device}")
            _check_values(name, values)

    @property
    def n(self) -> int:
        """Requests."""
        return len(self.offsets) - 1


@dataclass(frozen=True, eq=False)
class DevicePolicies:
    """P policies as tensors of one device; the first is the baseline. `eval.slates.WeightPolicies` explains.

    The type of `weights`, float64 or float32, is the one that is computed in.

    Attributes:
        weights: (P, A).
        cap: (P,) the largest score before demotion, inf for none.
        curves: (P, H, 3) start, line and floor of each harm's demotion; a floor of 1 demotes nothing.
    """

    weights: torch.Tensor
    cap: torch.Tensor
    curves: torch.Tensor

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or self.weights.dtype not in (torch.float64, torch.float32):
            raise ValueError(f"weights: expected float64 or float32 (P, A), got {_described(self.weights)}")
        p = len(self.weights)
        if self.cap.shape != (p,):
            raise ValueError(f"cap: expected shape ({p},), got {_described(self.cap)}")
        if self.curves.ndim != 3 or self.curves.shape[::2] != (p, 3):
            raise ValueError(f"curves: expected shape ({p}, harms, 3), got {_described(self.curves)}")
        if not bool(self.weights.isfinite().all()):
            raise ValueError("weights: expected finite numbers")
        start, line, floor = self.curves.unbind(2)
        if not bool(((start < line) & (floor >= 0) & (floor <= 1)).all()):
            raise ValueError("curves: expected start below line and a floor in [0, 1]")


def score_policies(requests: DeviceRequests, policies: DevicePolicies) -> torch.Tensor:
    """(P, c) the score of every candidate under every policy.

    min(cap, multiplier * weighted sum of the actions) times the demotion of each harm; a score below zero is
    made lower by as much, and a harm that was not scored demotes nothing.

    Raises:
        ValueError: policies over another number of actions or harms.
    """
    _check_widths(requests, policies)
    numbers = policies.weights.dtype
    return _scores(
        _decoded(requests.p_action, numbers),
        _decoded(requests.p_harm, numbers),
        None if requests.multiplier is None else requests.multiplier.to(numbers),
        policies,
    )


def top_of_requests(score: torch.Tensor, offsets: torch.Tensor, n_slots: int) -> torch.Tensor:
    """(P, r, k) the candidates with the highest scores of each request, best first, equal ones in order.

    k is `n_slots`; -1 stands where a request has fewer candidates. The rows of requests are padded to the
    longest while they are sorted.

    Args:
        score: (P, c) finite.
        offsets: (r + 1,).
        n_slots: at least 1.
    """
    low, high = offsets[:-1, None], offsets[1:, None]
    longest = max(int(offsets.diff().max()) if len(offsets) > 1 else 0, n_slots)
    rows = low + torch.arange(longest, device=offsets.device)  # (r, longest)
    padding = rows >= high
    if not score.shape[1]:
        return torch.full((len(score), len(low), n_slots), -1, device=offsets.device)
    padded = score[:, rows.clamp(max=score.shape[1] - 1)].masked_fill_(padding, -torch.inf)
    place = padded.sort(dim=2, descending=True, stable=True).indices[:, :, :n_slots]
    top: torch.Tensor = place + low
    return top.masked_fill_(top >= high, -1)


def exposure_of(top: torch.Tensor, seen: torch.Tensor, requests: DeviceRequests) -> torch.Tensor:
    """(r, P, 1 + 2 * H + A) what each slate shows: views, scored views and harm by harm, then the actions.

    Args:
        top: (P, r, k) candidates, best first, -1 for none.
        seen: (k,) chance that a position is seen by whoever does not stop; its type is computed in.
        requests: that the candidates are of.
    """
    numbers = seen.dtype
    stop = None if requests.stop is None else requests.stop.to(numbers)
    n_harms, n_actions = len(requests.p_harm), len(requests.p_action)
    n_policies, r = top.shape[:2]
    out = torch.zeros((1 + 2 * n_harms + n_actions, n_policies, r), dtype=numbers, device=top.device)
    reach = torch.ones((n_policies, r), dtype=numbers, device=top.device)
    if not requests.p_action.shape[1]:
        return out.permute(2, 1, 0)
    for k in range(top.shape[2]):
        filled, at = top[:, :, k] >= 0, top[:, :, k].clamp(min=0)
        # a mask and no product with 0: what stands in no slot may be NaN
        shown = torch.where(filled, seen[k] * reach, 0.0)
        harm = _decoded(requests.p_harm[:, at], numbers)  # (H, P, r)
        out[0] += shown
        out[1 : 1 + n_harms] += shown * ~harm.isnan()
        out[1 + n_harms : 1 + 2 * n_harms] += shown * harm.nan_to_num(0.0)
        out[1 + 2 * n_harms :] += shown * _decoded(requests.p_action[:, at], numbers)
        if stop is not None:
            reach = reach * (1.0 - stop[at])
    return out.permute(2, 1, 0)


def measure_slates(
    requests: DeviceRequests,
    policies: DevicePolicies,
    seen: Sequence[float],
    *,
    cells_at_once: int = CELLS_AT_ONCE,
) -> torch.Tensor:
    """(r, P, 3 + 2 * H + A) what the top of each request shows under each policy, on the device of the data.

    The columns are those of `eval.slates.measure_slates`: `exposure_of`, 1 where the slate is not that of
    the first policy, and 1. In float64 the numbers are the same. In float32 scores err by up to 1e-5 of
    themselves (a steep curve makes more of an error), so that candidates as near to each other as that may
    change places; sums over requests agree to 1e-5.

    Args:
        requests: on a device.
        policies: on the same device.
        seen: (k,) the chance that each slot is seen.
        cells_at_once: policies times candidates, padding included, that are worked on together; bounds the
            memory and changes no number.

    Raises:
        ValueError: policies over another number of actions or harms, or on another device, or no slots.
    """
    _check_widths(requests, policies)
    if policies.weights.device != requests.offsets.device:
        raise ValueError(
            f"policies: expected them on {requests.offsets.device}, got {policies.weights.device}"
        )
    if not len(seen):
        raise ValueError("seen: expected at least one slot, got none")
    n_policies, r = len(policies.weights), requests.n
    n_columns = 3 + 2 * len(requests.p_harm) + len(requests.p_action)
    numbers, device = policies.weights.dtype, policies.weights.device
    out = torch.empty((r, n_policies, n_columns), dtype=numbers, device=device)
    examination = torch.tensor(seen, dtype=numbers, device=device)
    bounds = requests.offsets.cpu()
    longest = max(int(bounds.diff().max()) if r else 0, len(seen))
    size = max(1, cells_at_once // (n_policies * longest))
    for first in range(0, r, size):
        last = min(first + size, r)
        block = _block(requests, first, last, slice(int(bounds[first]), int(bounds[last])))
        top = top_of_requests(score_policies(block, policies), block.offsets, len(seen))
        own = out[first:last]
        own[:, :, :-2] = exposure_of(top, examination, block)
        own[:, :, -2] = (top != top[:1]).any(dim=2).T
        own[:, :, -1] = 1.0
    return out


def _scores(
    actions: torch.Tensor, harms: torch.Tensor, multiplier: torch.Tensor | None, policies: DevicePolicies
) -> torch.Tensor:
    """(P, c); action by action, as a matrix product would add in an order of its own and break ties."""
    numbers = policies.weights.dtype
    shape = len(policies.weights), actions.shape[1]
    score: torch.Tensor = torch.zeros(shape, dtype=numbers, device=actions.device)
    for j, row in enumerate(actions):
        score += policies.weights[:, j, None] * row
    if multiplier is not None:
        score *= multiplier
    score = torch.minimum(score, policies.cap[:, None].to(numbers))
    for h, p in enumerate(harms):
        start, line, floor = policies.curves[:, h, :, None].to(numbers).unbind(1)  # each (P, 1)
        depth = torch.where(p >= line, 1.0, (p - start) / (line - start))
        kept = 1.0 - (1.0 - floor) * depth
        demoted = torch.where(score > 0.0, score * kept, score * (2.0 - kept))
        score = torch.where((p >= start) & (floor != 1.0), demoted, score)  # NaN is not at least the start
    return score


def _block(requests: DeviceRequests, first: int, last: int, rows: slice) -> DeviceRequests:
    """The requests from first to last; nothing is copied but the offsets, and nothing is checked again."""
    block = object.__new__(DeviceRequests)
    offsets = requests.offsets[first : last + 1]
    cut = {
        "offsets": offsets - offsets[0],
        "p_action": requests.p_action[:, rows],
        "p_harm": requests.p_harm[:, rows],
        "multiplier": None if requests.multiplier is None else requests.multiplier[rows],
        "stop": None if requests.stop is None else requests.stop[rows],
    }
    for name, values in cut.items():
        object.__setattr__(block, name, values)
    return block


def _decoded(values: torch.Tensor, numbers: torch.dtype) -> torch.Tensor:
    """Probabilities, from codes of a byte where they are such."""
    if values.dtype != torch.uint8:
        return values.to(numbers)
    table = torch.from_numpy(code_table().copy()).to(device=values.device, dtype=numbers)
    return table[values.int()]


def _check_widths(requests: DeviceRequests, policies: DevicePolicies) -> None:
    expected = len(requests.p_action), len(requests.p_harm)
    found = policies.weights.shape[1], policies.curves.shape[1]
    if found != expected:
        raise ValueError(
            f"policies: expected {expected[0]} actions and {expected[1]} harms, got {found[0]} and {found[1]}"
        )


def _check_values(name: str, values: torch.Tensor) -> None:
    """Refuse what is no probability; codes cannot be wrong, but for an action that was not scored."""
    if values.dtype == torch.uint8:
        if name == "p_action" and bool((values == UNSCORED).any()):
            raise ValueError("p_action: expected a probability of every action, got a null code")
        return
    if not values.is_floating_point():
        raise ValueError(f"{name}: expected floats or codes of a byte, got {values.dtype}")
    if name == "multiplier":
        right, expected = values.isfinite() & (values >= 0), "finite numbers of at least 0"
    else:
        right, expected = (values >= 0) & (values <= 1), "numbers in [0, 1]"
        if name == "p_harm":
            right |= values.isnan()
    if not bool(right.all()):
        raise ValueError(f"{name}: expected {expected}, got {float(values[~right][0]):g}")


def _described(values: torch.Tensor) -> str:
    return f"{values.dtype} {tuple(values.shape)}"
