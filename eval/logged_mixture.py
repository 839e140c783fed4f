"""A log of several loggers: how likely each slate was under all of them, whoever served it.

Weights over the mixture of the loggers are unbiased where any of them serves what the target does, and hardly
ever more variable than weights over each request's own logger. They need two things that weights over the own
logger do not: what the other loggers would have done, so their policies must be known and must reproduce what
was logged of their own requests; and requests that came to the loggers at random.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from eval.clustered import clustered_mean
from eval.logged_policy import LogPolicy, Scale, agrees_with_log, parse_policy, rank_log
from eval.logged_values import expected_steps
from eval.multiplicity import holm, p_of
from eval.overlap import log_steps
from eval.sample_ratio import SEGMENT_P
from reranker.columns import FeedError, FloatArray, IntArray, with_changes
from reranker.exploration import log_prefix_propensity
from reranker.impressions import ImpressionLog
from reranker.policy import PolicyError

SCORE = "score"
UNEVEN = "LOGGERS_UNEVEN"
FEWEST = 30  # users of a segment in which the shares of the loggers are compared


@dataclass(frozen=True)
class Mixture:
    """Which loggers served a log.

    Attributes:
        column: of the segments that says who served each request.
        loggers: policy by value of the column; None draws over the logged score, whoever served, which all of
            them must then do.
    """

    column: str
    loggers: Mapping[str, LogPolicy | None]

    def as_dict(self) -> dict[str, object]:
        """All that decides."""
        return {
            "column": self.column,
            "loggers": {name: SCORE if one is None else one.as_dict() for name, one in self.loggers.items()},
        }


def parse_mixture(column: str, texts: Sequence[str], *, scale: Scale = "linear") -> Mixture:
    """A mixture from texts such as "control=like=1,love=5", "hot=score" or "new=policy.toml".

    Raises:
        PolicyError: a text that is none, a logger twice, fewer than two, or "score" beside other policies.
    """
    loggers: dict[str, LogPolicy | None] = {}
    for text in texts:
        name, equals, policy = text.partition("=")
        if not (name and equals and policy):
            raise PolicyError(f"--logger: expected VALUE=POLICY, got {text!r}")
        if name in loggers:
            raise PolicyError(f"--logger: expected each once, got {name!r} again")
        if policy == "logger":
            raise PolicyError(f'--logger: expected weights, a policy or "{SCORE}", got {text!r}')
        loggers[name] = None if policy == SCORE else parse_policy(policy, scale=scale)
    if len(loggers) < 2:
        raise PolicyError(f"--logger: expected at least two for a mixture, got {len(loggers)}")
    drawn_by_score = [name for name, one in loggers.items() if one is None]
    if drawn_by_score and len(drawn_by_score) < len(loggers):
        raise PolicyError(
            f"--logger: expected all of {', '.join(loggers)} to draw over the logged score or none, as the "
            f"score of a request is that of its own logger; got {', '.join(drawn_by_score)}"
        )
    return Mixture(column, loggers)


@dataclass(frozen=True)
class Logger:
    """One of the loggers, as the log shows it.

    Attributes:
        name: its value in the column.
        policy: None draws over the logged score.
        n_requests: that it served.
        temperature, from_rank: of all its draws.
    """

    name: str
    policy: LogPolicy | None
    n_requests: int
    temperature: float
    from_rank: int

    def log_prefix(self, log: ImpressionLog) -> FloatArray:
        """(s,) log chance of every slate of a log down to each slot, whoever served it.

        Raises:
            FeedError: the log lacks what the policy ranks by.
        """
        if self.policy is not None:
            return self._ranked(log)
        if np.isnan(log.score).any():
            raise FeedError(f"logger {self.name}: expected a score of every candidate, got none for some")
        heat, first = np.full(log.n, self.temperature), np.full(log.n, self.from_rank, dtype=np.int64)
        return log_prefix_propensity(
            log.score, log.offsets, log.slate, log.slot_offsets, heat, from_rank=first
        )

    def _ranked(self, log: ImpressionLog) -> FloatArray:
        assert self.policy is not None
        fixed = replace(self.policy, temperature=self.temperature, from_rank=self.from_rank)
        ranked = rank_log(fixed, log)
        if not ranked.known.all():
            at = log.request_id[int(ranked.known.argmin())]
            raise FeedError(
                f"logger {self.name}: expected every prediction of every candidate, as its chance of what "
                f'others served is asked for; request "{at}" lacks some'
            )
        return ranked.log_prefix

    def served(self, log: ImpressionLog) -> bool:
        """Whether requests that are its own have the propensities it says."""
        if self.policy is not None:
            fixed = replace(self.policy, temperature=self.temperature, from_rank=self.from_rank)
            return agrees_with_log(rank_log(fixed, log), log)
        return agrees_with_log(
            replace(rank_log(LogPolicy("", None), log), log_prefix=self.log_prefix(log)), log
        )


@dataclass(frozen=True)
class Loggers:
    """The loggers of a mixture with what the log shows of them, in the order of their names."""

    column: str
    each: tuple[Logger, ...]

    @property
    def one_draw(self) -> bool:
        """Whether all of them drew at one temperature and from one rank."""
        return len({(one.temperature, one.from_rank) for one in self.each}) == 1

    @property
    def by_score(self) -> bool:
        """Whether they are taken to draw over one score; nothing in a log can check that."""
        return any(one.policy is None for one in self.each)

    def arms(self, log: ImpressionLog) -> IntArray:
        """(n,) which logger served each request."""
        column = log.segments[self.column]
        place = {one.name: i for i, one in enumerate(self.each)}
        return np.array([place[value] for value in column.values], dtype=np.int64)[column.codes]

    def mixed(self, log: ImpressionLog) -> ImpressionLog:
        """The log with the propensities of the mixture in place of those of each request's own logger."""
        share = np.array([one.n_requests for one in self.each], dtype=np.float64)
        own = np.minimum(log.log_prefix_propensity, 0.0)
        arm = self.arms(log)[log.request_of_slot]
        every = np.stack([
            np.where(arm == i, own, one.log_prefix(log)) for i, one in enumerate(self.each)
        ])  # fmt: skip
        # see `eval.weights.balanced_weights`: log space throughout, so that nothing under- or overflows
        weight = np.broadcast_to((share / share.sum())[:, None], every.shape)
        mixture = np.minimum(logsumexp(every, axis=0, b=weight), 0.0)
        return with_changes(ImpressionLog, log, log_prefix_propensity=np.asarray(mixture, dtype=np.float64))

    def expected_steps(self, log: ImpressionLog, mixed: ImpressionLog) -> FloatArray:
        """(s,) what the mixture's log chance of each slot should be, so that each logger is held to its own.

        Args:
            log: as it was logged.
            mixed: see `mixed`.
        """
        surprise = log_steps(log.log_prefix_propensity, log.slot_offsets) - expected_steps(log)
        return log_steps(mixed.log_prefix_propensity, log.slot_offsets) - surprise

    def check_targets(self, policies: Iterable[LogPolicy]) -> None:
        """Refuse a policy that would draw as whichever logger happened to serve.

        Raises:
            FeedError: the loggers drew differently and a policy names no temperature or first rank.
        """
        if self.one_draw:
            return
        heats = ", ".join(f"{one.temperature:g} from rank {one.from_rank} ({one.name})" for one in self.each)
        first_ranks = {one.from_rank for one in self.each}
        for policy in policies:
            lacks_rank = policy.from_rank is None and len(first_ranks) > 1
            if not policy.is_logger and (policy.temperature is None or lacks_rank):
                what = "exploration.from_rank" if policy.temperature is not None else "--temperature"
                raise FeedError(f"{policy.name}: {what}: expected one, as the loggers drew at {heats}")


def loggers_of(logs: Iterable[ImpressionLog], mixture: Mixture) -> Loggers:
    """The loggers of a log, each checked on the requests that it served.

    Args:
        logs: batches.
        mixture: which there are said to be.

    Raises:
        FeedError: a request without a logger, a propensity or all its candidates; a logger that served none,
            drew at several temperatures, or whose policy does not give the propensities that it logged.
    """
    held: dict[str, list[ImpressionLog]] = {name: [] for name in sorted(mixture.loggers)}
    for log in logs:
        if log.n:
            for name, rows in _rows_of(log, mixture).items():
                held[name].append(log.take(rows))
    return Loggers(
        mixture.column, tuple(_logger(name, mixture.loggers[name], own) for name, own in held.items())
    )


def _rows_of(log: ImpressionLog, mixture: Mixture) -> dict[str, IntArray]:
    """Requests of each logger; what no mixture can be made of is refused."""
    column = log.segments.get(mixture.column)
    if column is None:
        had = ", ".join(sorted(log.segments)) or "none"
        raise FeedError(f"--mixture {mixture.column}: expected a segment that was logged ({had}), got none")
    whole = (
        log.has_propensity
        if log.n_total is None
        else log.has_propensity & (log.n_total == np.diff(log.offsets))
    )
    for wrong, expected in (
        (column.is_null, f"a logger in segment_{mixture.column}"),
        (~whole, "a propensity and all its candidates"),
    ):
        if wrong.any():
            at = log.request_id[int(wrong.argmax())]
            raise FeedError(f'--mixture {mixture.column}: expected {expected}, got none for request "{at}"')
    for value in column.present():
        if value not in mixture.loggers:
            named = ", ".join(mixture.loggers)
            raise FeedError(
                f"--logger: expected one for every logger in the log, got {named} and not {value}"
            )
    return {
        value: np.flatnonzero(column.codes == column.code_of(value)).astype(np.int64)
        for value in column.present()
    }


def _logger(name: str, policy: LogPolicy | None, own: list[ImpressionLog]) -> Logger:
    n = sum(log.n for log in own)
    if not n:
        raise FeedError(f"logger {name}: expected requests that it served, got none")
    heats = {float(heat) for log in own for heat in np.unique(_temperature(log)).tolist()}
    firsts = {int(rank) for log in own for rank in np.unique(1 if log.from_rank is None else log.from_rank)}
    for what, found in (("temperature", heats), ("from_rank", firsts)):
        if len(found) != 1 or any(np.isnan(one) for one in found):
            told = ", ".join(f"{one:g}" for one in sorted(found)[:5])
            raise FeedError(f"logger {name}: {what}: expected one for all its requests, got {told}")
    logger = Logger(name, policy, n, heats.pop(), firsts.pop())
    if not all(logger.served(log) for log in own):
        raise FeedError(
            f"logger {name}: expected the propensities that were logged of its own requests, got others: "
            "check its weights, --scale and the columns it ranks by"
        )
    return logger


def _temperature(log: ImpressionLog) -> FloatArray:
    return np.full(log.n, np.nan) if log.temperature is None else log.temperature


def uneven_segments(arm: IntArray, segment: IntArray, user: IntArray) -> float:
    """The smallest p-value, by Holm, of a share of a logger that is another in a segment than in the log.

    Weights over a mixture take every request to have come to any logger by the same chances. 1.0 where there
    is no segment to compare in.

    Args:
        arm: (n,) which logger served.
        segment: (D, n) codes of each dimension.
        user: (n,) codes of the users, by whom the errors are.
    """
    found = []
    for codes in segment:
        for code in np.unique(codes):
            at = codes == code
            if at.all() or len(np.unique(user[at])) < FEWEST:
                continue
            for one in np.unique(arm)[1:]:
                # inside against outside, so that a segment of most requests is compared too
                inside = (arm == one).astype(np.float64)
                apart = np.where(at, (inside - inside[at].mean()) / at.mean(), 0.0)
                apart -= np.where(at, 0.0, (inside - inside[~at].mean()) / (1 - at.mean()))
                change = clustered_mean(apart, user)
                gap = float(inside[at].mean() - inside[~at].mean())
                found.append(p_of([replace(change, value=gap)]))
    return float(holm(np.array(found)).min()) if found else 1.0


def uneven(smallest_p: float) -> str:
    """Why the loggers cannot be mixed, or ""."""
    if smallest_p >= SEGMENT_P:
        return ""
    return (
        f"{UNEVEN}: requests did not come to the loggers at random: their shares differ between segments "
        f"(p = {smallest_p:.2g} by Holm)"
    )
