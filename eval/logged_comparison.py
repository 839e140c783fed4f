"""A comparison of two policies on a log: how it was made, and everything that was found."""

from dataclasses import dataclass, field

from eval.audit_findings import AuditRow
from eval.audit_labels import HumanLabels
from eval.browsing import Status
from eval.clustered import LEVEL
from eval.decision import Gate, gate
from eval.guardrails import GATES
from eval.logged_mixture import Loggers, Mixture
from eval.logged_policy import LogPolicy
from eval.logged_rows import HARM, LoggedRow
from eval.logged_segments import SegmentFindings
from eval.margins import Margins
from eval.ope import SWITCH
from eval.overlap import Limits
from eval.support import SupportReport

N_DRAWS = 32


@dataclass(frozen=True)
class LoggedSettings:
    """How a comparison is made; all of it is in its digest.

    Attributes:
        level: of the intervals.
        switch: weight from which the response model alone is trusted.
        n_draws: slates per policy and request that the model is averaged over.
        seed: of the draws and of the folds.
        limits: of the gate.
        segments: dimensions to tell apart; None is those of `DIMENSIONS` that the log has.
    """

    level: float = LEVEL
    switch: float = SWITCH
    n_draws: int = N_DRAWS
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    segments: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.n_draws < 2:
            raise ValueError(f"n_draws: expected at least 2, got {self.n_draws}")


@dataclass(frozen=True)
class LoggedContext:
    """What neither the log nor the policies know.

    Attributes:
        margins: of the activity; None for those shipped.
        planned_margins: the digest of the margins as planned, before the result was read.
        labels: what people said of a sample of the posts.
        mixture: the loggers that served the log; None weighs each request by its own logger.
    """

    margins: Margins | None = None
    planned_margins: str | None = None
    labels: HumanLabels | None = None
    mixture: Mixture | None = None


@dataclass(frozen=True)
class LoggedComparison:
    """Everything that was found.

    Attributes:
        original, treatment: the policies.
        settings, context: how it was made.
        served_by: which of the two served the log: "original", "treatment", "both" or "neither".
        loggers: of a mixture; None where each request was weighed by its own logger.
        rows: one per metric and level.
        segments: the same of parts of the log.
        audits: harm corrected by labels of people; () without labels.
        gates: of the original and the treatment.
        status: of estimates by weights.
        reasons, remedy, needed_users: of both gates together.
        uneven: why the loggers could not be mixed, or "".
        n_requests, n_users: in the log.
        n_unknown: requests of which not all that both policies would rank was logged.
        margins: of the activity.
        banner: where the margins are not those of the plan.
        digest: sha256 of policies, settings, loggers, labels and margins.
    """

    original: LogPolicy
    treatment: LogPolicy
    settings: LoggedSettings
    context: LoggedContext
    served_by: str
    loggers: Loggers | None
    rows: tuple[LoggedRow, ...]
    segments: SegmentFindings
    audits: tuple[AuditRow, ...]
    gates: tuple[SupportReport, SupportReport]
    status: Status
    reasons: tuple[str, ...]
    remedy: str
    needed_users: int | None
    uneven: str
    n_requests: int
    n_users: int
    n_unknown: int
    margins: Margins
    banner: str
    digest: str

    def row(self, metric: str, level: str = "L1") -> LoggedRow:
        """The row of a metric.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if (row.metric, row.level) == (metric, level):
                return row
        raise KeyError(f"{metric} at {level}")

    @property
    def guardrails(self) -> Gate:
        """All guardrails of the activity together: each must hold, so that none is adjusted.

        Where a row is bounded, its worse end stands.
        """
        estimates = {}
        for metric, name in GATES.items():
            ends = [row.verdicts for row in self.rows if (row.metric, row.level) == (metric, "L1")]
            if ends and ends[0] and name in self.margins.overall:
                estimates[name] = min(ends[0], key=lambda verdict: verdict.low).estimate
        return gate(estimates, self.margins, planned_digest=self.context.planned_margins)

    @property
    def demoted_by(self) -> tuple[str, ...]:
        """Harms whose scores in the log one policy demotes by and the other does not, or not so."""
        first, second = self.original.demotion, self.treatment.demotion
        return tuple(sorted(name for name in {*first, *second} if first.get(name) != second.get(name)))

    @property
    def own_ruler(self) -> tuple[str, ...]:
        """Harms that are measured by the very scores that demoted."""
        measured = {row.metric.partition(".")[2] for row in self.rows if row.metric.startswith(HARM)}
        return tuple(name for name in self.demoted_by if name in measured)
