"""What a log says of two policies, request by request: values whose means are the estimates.

Batches are joined and put in the order of the requests' keys, so that the numbers are the same to the last
bit however the log was cut and ordered.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FloatArray, IntArray, ragged_rows


@dataclass(frozen=True, eq=False)
class RequestValues:
    """n requests with s slots and e candidates that either policy shows; the last axis is one of the three.

    Attributes:
        request: (n,) keys.
        user: (n,) codes.
        day: (n,) days since 1970, -1 where the time was not logged.
        n_slots, n_shown: (n,).
        main: (2, M, n) the estimate under the original and the treatment.
        rips, sips: (M, n) treatment minus original, by weights alone.
        bias: (M, n) bound of what the switch left out, of both.
        gain, loss: (M, n) what the model alone expects more and less of, candidate by candidate.
        most: (M, n) largest reward of a slot.
        unsupported: (2, n) expected slots of each policy that the logger never serves so.
        modelled: (2, n) those of them that the model stands in for, in requests that are known in full.
        both_known: (n,) all that both policies would rank was logged.
        unscored: (2, H, n) views of candidates without a score under each policy.
        unscored_bounds: (2, H, n) least and most that such views may add to the difference of harm.
        log_logging, expected_step: (s,) see `eval.overlap.Served`.
        log_target, unsupported_slot: (2, s) of each policy.
        seen: (B, 2, e) chance that a candidate is looked at, by browsing model and policy.
        harm: (H, e) of the candidates shown.
        segment: (D, n) codes of the dimensions of requests.
        arm: (n,) which logger served, where several did; else -1.
        group: (D, e) codes of the dimensions of candidates.
        item: (e,) ids of the posts; none where the plan keeps no posts, as with the next two.
        looked: (e,) whether the candidate was served and looked at.
        exposure: (2, e) views of each candidate under each policy, by the estimator of `main`; they add up to
            it, and may be below 0 for a single one.
    """

    request: NDArray[np.uint64]
    user: IntArray
    day: IntArray
    n_slots: IntArray
    n_shown: IntArray
    main: FloatArray
    rips: FloatArray
    sips: FloatArray
    bias: FloatArray
    gain: FloatArray
    loss: FloatArray
    most: FloatArray
    unsupported: FloatArray
    modelled: FloatArray
    both_known: BoolArray
    unscored: FloatArray
    unscored_bounds: FloatArray
    log_logging: FloatArray
    expected_step: FloatArray
    log_target: FloatArray
    unsupported_slot: FloatArray
    seen: FloatArray
    harm: FloatArray
    segment: IntArray
    arm: IntArray
    group: IntArray
    item: IntArray
    looked: BoolArray
    exposure: FloatArray

    @property
    def slot_offsets(self) -> IntArray:
        """(n + 1,) slots of each request."""
        return np.concatenate(([0], np.cumsum(self.n_slots))).astype(np.int64)

    @property
    def shown_offsets(self) -> IntArray:
        """(n + 1,) candidates shown of each request."""
        return np.concatenate(([0], np.cumsum(self.n_shown))).astype(np.int64)

    def take(self, requests: IntArray) -> "RequestValues":
        """The chosen requests, in the order given."""
        chosen = {"n": requests}
        for name, length in (("s", self.n_slots), ("e", self.n_shown)):
            chosen[name] = ragged_rows((np.cumsum(length) - length)[requests], length[requests])
        made = {}
        for item in fields(RequestValues):
            values, per = getattr(self, item.name), _PER.get(item.name, "n")
            absent = item.name in _OF_POSTS and not values.shape[-1]
            made[item.name] = values if absent else np.take(values, chosen[per], axis=-1)
        return RequestValues(**made)


_OF_POSTS = ("group", "item", "looked", "exposure")
_PER = {
    **dict.fromkeys(("log_logging", "expected_step", "log_target", "unsupported_slot"), "s"),
    **dict.fromkeys(("seen", "harm", *_OF_POSTS), "e"),
}


def joined_values(parts: Iterable[RequestValues]) -> RequestValues:
    """All requests in the order of their keys; users are counted from 0, in the order of their codes."""
    held = list(parts)
    every = {item.name: np.concatenate([getattr(part, item.name) for part in held], axis=-1)
             for item in fields(RequestValues)}  # fmt: skip
    every["user"] = np.unique(every["user"], return_inverse=True)[1].astype(np.int64)
    return RequestValues(**every).take(np.argsort(every["request"], kind="stable"))
