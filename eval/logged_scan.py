"""What the whole of a log has, before anything is measured on it: gone through once, batch by batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from eval.logged_batches import of_batches
from eval.logged_mixture import Loggers
from eval.logged_plan import PartCounts
from eval.logged_policy import LogPolicy, agrees_with_log, rank_log
from eval.logged_response import Sample, sample_of
from reranker.columns import FeedError
from reranker.exploration import request_keys
from reranker.impressions import ImpressionLog


@dataclass(frozen=True, eq=False)
class LogScan:
    """What some requests have.

    Attributes:
        harms, actions: that all of them have.
        served_by: whether each policy is the logger of all.
        samples: the slots that models are fitted on; None where views were not logged.
        counts: how often each value of each dimension comes.
    """

    harms: frozenset[str]
    actions: frozenset[str]
    served_by: tuple[bool, bool]
    samples: tuple[Sample, ...] | None
    counts: PartCounts


def scan(
    logs: Iterable[ImpressionLog],
    policies: tuple[LogPolicy, LogPolicy],
    dimensions: Sequence[str],
    loggers: Loggers | None,
) -> LogScan:
    """What all requests have.

    Raises:
        FeedError: there is none, or a column that a policy ranks by was not logged.
    """
    look = partial(_scan_batch, policies=policies, dimensions=dimensions, loggers=loggers)
    found = [one for one in of_batches(look, logs) if one is not None]
    if not found:
        raise FeedError("logs: expected at least one request, got none")
    counts = PartCounts(dimensions)
    for one in found:
        counts.merge(one.counts)
    samples = [one.samples for one in found]
    return LogScan(
        frozenset.intersection(*(one.harms for one in found)),
        frozenset.intersection(*(one.actions for one in found)),
        (all(one.served_by[0] for one in found), all(one.served_by[1] for one in found)),
        None if None in samples else tuple(sample for some in samples for sample in some or ()),
        counts,
    )


def _scan_batch(
    log: ImpressionLog,
    policies: tuple[LogPolicy, LogPolicy],
    dimensions: Sequence[str],
    loggers: Loggers | None,
) -> LogScan | None:
    """None of a batch without requests."""
    if not log.n:
        return None
    log = log if loggers is None else loggers.mixed(log)
    counts = PartCounts(dimensions)
    counts.add(log)
    first, second = (one.is_logger or agrees_with_log(rank_log(one, log), log) for one in policies)
    samples = None
    if log.viewed is not None:
        samples = (sample_of(log, request_keys(log.request_id.values)[log.request_id.codes]),)
    return LogScan(frozenset(log.harm), frozenset(log.action), (first, second), samples, counts)
