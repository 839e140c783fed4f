"""An experiment that gave some authors extra feedback: who got what, and what they posted afterwards.

Columnar, one row per author and period or per author and post; a constructor checks it once. What was
assigned is random, what was received is not: popular authors receive more and post more anyway.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from reranker.columns import FloatArray, IntArray, StringColumn, closest, first_row, frozen
from reranker.signals import SIGNAL_NAMES

Model = Literal["linear", "poisson"]
UNIT = "like"
CONTROL = "control"
_MOST_ARMS = 200


@dataclass(frozen=True, eq=False)
class FeedbackExperiment:
    """Rows of an extra-feedback experiment.

    Attributes:
        author: (n,) codes from 0; errors are clustered by it.
        arm: (n,) index into `arm_names`.
        arm_names: one of them, the control, was assigned nothing.
        boosted: signals of which at least one arm was assigned some.
        assigned: (B, n) feedback that was to be added, of `boosted`; 0 or more, in the units of the design.
        signals: kinds of feedback that were counted.
        received: (S, n) feedback received, the added one included, of `signals`.
        posts: (n,) original posts in the next period.
        before: name to (n,) counts from before the assignment, NaN where not known.
        places: name to a column of n, such as country and period, known before the assignment.
    """

    author: IntArray
    arm: IntArray
    arm_names: tuple[str, ...]
    boosted: tuple[str, ...]
    assigned: FloatArray
    signals: tuple[str, ...]
    received: FloatArray
    posts: FloatArray
    before: Mapping[str, FloatArray] = field(default_factory=dict)
    places: Mapping[str, StringColumn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.author)
        if n == 0:
            raise ValueError("author: expected rows, got none")
        shapes = {
            "arm": (self.arm.shape, (n,)),
            "assigned": (self.assigned.shape, (len(self.boosted), n)),
            "received": (self.received.shape, (len(self.signals), n)),
            "posts": (self.posts.shape, (n,)),
        }
        shapes |= {f"before_{name}": (values.shape, (n,)) for name, values in self.before.items()}
        shapes |= {name: ((len(column),), (n,)) for name, column in self.places.items()}
        for name, (got, expected) in shapes.items():
            if got != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {got}")
        for prefix, names in (("assigned", self.boosted), ("received", self.signals)):
            for name in names:
                if name not in SIGNAL_NAMES:
                    raise ValueError(f'{prefix}_{name}: unknown signal "{name}"{closest(name, SIGNAL_NAMES)}')
        for name, values in self._counts():
            check_counts(name, values, missing=name.startswith("before_"))
        for array in (self.author, self.arm, self.assigned, self.received, self.posts):
            frozen(array)

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.author)

    @property
    def n_authors(self) -> int:
        """The number of authors."""
        return len(np.unique(self.author))

    @property
    def control(self) -> int:
        """The index of the arm that was assigned nothing.

        Raises:
            ValueError: there is none.
        """
        added = np.bincount(self.arm, weights=self.assigned.sum(axis=0), minlength=len(self.arm_names))
        if (added > 0).all():
            raise ValueError(
                f"arm: expected a control, an arm that was assigned nothing, got {', '.join(self.arm_names)}"
            )
        return first_row(added == 0)

    @property
    def by_author(self) -> bool:
        """Whether authors were randomised, each being in one arm throughout; else rows were."""
        pairs = np.unique(self.author * len(self.arm_names) + self.arm)
        return len(pairs) == self.n_authors

    def received_of(self, names: Sequence[str]) -> FloatArray:
        """(len(names), n) what was received of the named signals."""
        return self.received[[self.signals.index(name) for name in names]]

    def digest(self) -> str:
        """Hexadecimal sha256 of the content: the same for the same rows from another kind of file."""
        found = hashlib.sha256(repr((self.arm_names, self.boosted, self.signals)).encode())
        arrays = [self.author, self.arm, self.assigned, self.received, self.posts]
        for name, values in sorted(self.before.items()):
            found.update(name.encode())
            arrays.append(values)
        for name, column in sorted(self.places.items()):
            found.update(repr((name, column.values)).encode())
            arrays.append(column.codes.astype(np.int64))
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def _counts(self) -> list[tuple[str, FloatArray]]:
        """Every column of counts by the name that it has in a file."""
        return [
            *((f"assigned_{name}", row) for name, row in zip(self.boosted, self.assigned, strict=True)),
            *((f"received_{name}", row) for name, row in zip(self.signals, self.received, strict=True)),
            ("posts", self.posts),
            *((f"before_{name}", values) for name, values in self.before.items()),
        ]


def check_counts(name: str, values: FloatArray, *, missing: bool) -> None:
    """Refuse the first value (n,) that no count can be.

    Args:
        name: of the column, for the message.
        values: the counts.
        missing: whether NaN may stand for one that is not known.

    Raises:
        ValueError: names the column, the value and its row.
    """
    good = np.isfinite(values) & (values >= 0)
    if missing:
        good |= np.isnan(values)
    if not good.all():
        at = first_row(~good)
        raise ValueError(f"{name}: expected a finite count, 0 or more, got {values[at]} at row {at}")


def doses_of(arm: str) -> dict[str, float]:
    """What an arm was assigned, told by its name: "control", or signals with doses such as "like:2+comment".

    Raises:
        ValueError: the name is of another form, or the signal is unknown.

    Example:
        >>> doses_of("like:2+comment"), doses_of("control")
        ({'like': 2.0, 'comment': 1.0}, {})
    """
    if arm == CONTROL:
        return {}
    doses: dict[str, float] = {}
    for part in arm.split("+"):
        name, colon, dose = part.strip().partition(":")
        if name not in SIGNAL_NAMES:
            raise ValueError(
                f'arm: expected "control" or SIGNAL:DOSE joined by +, or columns assigned_SIGNAL beside it, '
                f"got {arm!r}{closest(name, SIGNAL_NAMES)}"
            )
        try:
            doses[name] = float(dose) if colon else 1.0
        except ValueError:
            raise ValueError(f"arm: expected a number after the colon, got {arm!r}") from None
        if not 0 < doses[name] < np.inf:
            raise ValueError(f"arm: expected a dose above 0, got {arm!r}")
    return doses


def arms_of(boosted: Sequence[str], assigned: FloatArray) -> tuple[IntArray, tuple[str, ...]]:
    """(n,) codes and names of the arms of rows that state doses (B, n) alone: one per set of doses.

    Raises:
        ValueError: more than 200 sets of doses, so that arms have to be stated.
    """
    doses, codes = np.unique(assigned, axis=1, return_inverse=True)
    if doses.shape[1] > _MOST_ARMS:
        raise ValueError(
            f"arm: expected that column, as the doses form {doses.shape[1]} arms, more than {_MOST_ARMS}"
        )
    names = []
    for column in doses.T:
        parts = [f"{name}:{dose:g}" for name, dose in zip(boosted, column, strict=True) if dose]
        names.append("+".join(parts) or CONTROL)
    return codes.reshape(-1).astype(np.int64), tuple(names)
