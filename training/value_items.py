"""Engagements of viewers, some of whom were asked on reflection, as checked columns.

One row per viewer, post and kind of engagement. Rows without an answer are engagements that nobody was asked
about: they make the total that the sample stands for. What was not measured of a post is NaN, never 0.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.taxonomy import LABELS
from reranker.columns import (
    BoolArray,
    FeedError,
    FloatArray,
    IntArray,
    closest,
    first_row,
    freeze_arrays,
)
from reranker.signals import SIGNAL_NAMES
from reranker.tables import ColumnKind

LABEL_NAMES = tuple(label.name for label in LABELS)
CONTEXT = ("angry_share", "comment_toxicity")
POSITIVE = ("worth_your_time", "request_more")
NEGATIVE = ("hide", "not_interested", "request_less", "negative_feedback", "report", "mute", "block")
ANSWERS = ("endorsed", "rating", "explicit")
ENDORSED_FROM = 4
LAYOUT: dict[str, ColumnKind] = {
    "viewer": "id",
    "post_id": "id",
    "signal": "text",
    "endorsed": "number",
    "rating": "number",
    "explicit": "text",
    "sampling_probability": "number",
    "count": "number",
    "reversed": "number",
    "country": "text",
    **dict.fromkeys((*CONTEXT, *LABEL_NAMES), "number"),
}


@dataclass(frozen=True, eq=False)
class ValueItems:
    """Engagements of G viewers in n rows, sorted by viewer, post and signal.

    Attributes:
        n_viewers: G.
        viewer: (n,) codes below G.
        signals: kinds of engagement that occur, in the order of `SIGNALS`.
        signal: (n,) index into `signals`.
        endorsed: (n,) 1 glad on reflection, 0 not, NaN where nobody was asked.
        weight: (n,) one over the probability of being asked, 0 where nobody was.
        count: (n,) units of engagement in the row, above 0.
        terms: what may lower the quality of a post: labels, "angry_share", "comment_toxicity".
        level: (H, n) of each term, in [0, 1] or NaN where it was not measured.
        reversed: (n,) 1 where the question was asked the other way round, 0 where not; None: never told.
        countries: names, sorted; empty where the file has none.
        country: (n,) index into them, -1 where not known.
        kind: which column held the answers.
        digest: sha256 of all of this, whatever the order of the rows.
    """

    n_viewers: int
    viewer: IntArray
    signals: tuple[str, ...]
    signal: IntArray
    endorsed: FloatArray
    weight: FloatArray
    count: FloatArray
    terms: tuple[str, ...]
    level: FloatArray
    reversed: FloatArray | None = None
    countries: tuple[str, ...] = ()
    country: IntArray | None = None
    kind: str = "endorsed"
    digest: str = ""

    def __post_init__(self) -> None:
        freeze_arrays(self)

    @property
    def n(self) -> int:
        """Rows, asked or not."""
        return len(self.viewer)

    @property
    def asked(self) -> BoolArray:
        """(n,) True where there is an answer."""
        return ~np.isnan(self.endorsed)

    @property
    def known(self) -> FloatArray:
        """(H, n) the levels as the ranker takes them: what was not measured takes nothing off."""
        return np.nan_to_num(self.level)

    def take(self, rows: BoolArray) -> "ValueItems":
        """Some of the rows; viewers, signals and terms keep their numbers."""
        return replace(
            self,
            viewer=self.viewer[rows],
            signal=self.signal[rows],
            endorsed=self.endorsed[rows],
            weight=self.weight[rows],
            count=self.count[rows],
            level=self.level[:, rows],
            reversed=None if self.reversed is None else self.reversed[rows],
            country=None if self.country is None else self.country[rows],
        )

    def with_terms(self, names: Sequence[str]) -> "ValueItems":
        """The same rows with these of its terms, in their order here."""
        rows = [i for i, name in enumerate(self.terms) if name in names]
        return replace(self, terms=tuple(self.terms[i] for i in rows), level=self.level[rows])


def items_from_columns(
    columns: Mapping[str, Sequence[object] | FloatArray], *, endorsed_from: int = ENDORSED_FROM
) -> ValueItems:
    """Engagements from columns by name, those of an items file; numbers are arrays with NaN for null.

    Raises:
        FeedError: a column is missing or unknown, a value is none that it can hold, an answer has no
            sampling probability, or a row is there twice.
    """
    kind = _check_columns(columns)
    order = _order(columns)
    texts = {k: [columns[k][i] for i in order] for k in ("viewer", "signal", "country") if k in columns}
    numbers = {
        k: np.asarray(v, dtype=np.float64)[order]
        for k, v in columns.items()
        if LAYOUT.get(k) == "number" and k not in ANSWERS
    }
    answer = _answers(kind, columns[kind], endorsed_from)
    _check_probabilities(answer, np.asarray(columns["sampling_probability"], dtype=np.float64))
    endorsed = answer[order]
    asked = ~np.isnan(endorsed)
    weight = np.zeros(len(order))
    weight[asked] = 1.0 / numbers["sampling_probability"][asked]
    viewers, viewer = np.unique(np.array(texts["viewer"], dtype=np.str_), return_inverse=True)
    present = set(texts["signal"])
    signals = tuple(name for name in SIGNAL_NAMES if name in present)
    at = {name: i for i, name in enumerate(signals)}
    terms = tuple(name for name in (*LABEL_NAMES, *CONTEXT) if name in columns)
    countries = tuple(sorted({str(c) for c in texts.get("country", []) if c is not None}))
    place = {name: i for i, name in enumerate(countries)}
    items = ValueItems(
        n_viewers=len(viewers),
        viewer=viewer.astype(np.int64),
        signals=signals,
        signal=np.array([at[str(name)] for name in texts["signal"]], dtype=np.int64),
        endorsed=endorsed,
        weight=weight,
        count=numbers.get("count", np.ones(len(order))),
        terms=terms,
        level=np.array([numbers[name] for name in terms]).reshape(len(terms), len(order)),
        reversed=numbers.get("reversed"),
        countries=countries,
        country=np.array([place.get(str(c), -1) for c in texts["country"]], dtype=np.int64)
        if countries
        else None,
        kind=kind,
    )
    return replace(items, digest=_digest(items))


def _check_columns(columns: Mapping[str, Sequence[object] | FloatArray]) -> str:
    """Which column holds the answers, once names and values are right."""
    for name in columns:
        if name not in LAYOUT and not name.startswith("attr_"):
            hint = closest(name, tuple(LAYOUT))
            raise FeedError(
                f'unknown column "{name}": expected one of the schema or a label{hint}; '
                'a column of your own is named "attr_..."'
            )
    for name in ("viewer", "post_id", "signal", "sampling_probability"):
        if name not in columns:
            raise FeedError(f"{name}: expected a column, got {', '.join(columns) or 'none'}")
    found = [name for name in ANSWERS if name in columns]
    if len(found) != 1:
        raise FeedError(f"expected one column of {', '.join(ANSWERS)}, got {', '.join(found) or 'none'}")
    if found[0] == "explicit" and "reversed" in columns:
        raise FeedError("reversed: expected no such column beside explicit, which answers no question")
    _check_values(columns)
    return found[0]


def _check_values(columns: Mapping[str, Sequence[object] | FloatArray]) -> None:
    """Ids, signals and numbers that a row cannot hold are refused."""
    if not len(columns["viewer"]):
        raise FeedError("expected rows, got none")
    for name in ("viewer", "post_id", "signal"):
        for row, value in enumerate(columns[name]):
            if value is None:
                raise FeedError(f"{name}: expected a value, got null at row {row}")
            if name == "signal" and value not in SIGNAL_NAMES:
                hint = closest(str(value), SIGNAL_NAMES)
                raise FeedError(f'signal: unknown signal "{value}" at row {row}{hint}')
    for name, values in columns.items():
        if LAYOUT.get(name) == "number" and name not in ANSWERS:
            _check_range(name, np.asarray(values, dtype=np.float64))


def _check_range(name: str, values: FloatArray) -> None:
    """Numbers (n,) that a column cannot hold are refused; NaN is null."""
    known = ~np.isnan(values)
    if name == "count":
        bad, expected = ~(known & (values > 0) & np.isfinite(values)), "a finite number above 0"
    elif name == "sampling_probability":
        bad, expected = known & ~((values > 0) & (values <= 1)), "a probability in (0, 1]"
    elif name == "reversed":
        bad, expected = ~np.isin(values, (0.0, 1.0)), "0 or 1"
    else:
        bad, expected = known & ~((values >= 0) & (values <= 1)), "a number in [0, 1]"
    if bad.any():
        row = first_row(bad)
        got = "null" if np.isnan(values[row]) else f"{values[row]:g}"
        raise FeedError(f"{name}: expected {expected}, got {got} at row {row}")


def _answers(kind: str, values: Sequence[object] | FloatArray, endorsed_from: int) -> FloatArray:
    """(n,) 1 endorsed, 0 not, NaN where nobody answered."""
    if kind == "explicit":
        worth = dict.fromkeys(POSITIVE, 1.0) | dict.fromkeys(NEGATIVE, 0.0)
        for row, value in enumerate(values):
            if value is not None and value not in worth:
                raise FeedError(
                    f"explicit: expected one of {', '.join(worth)}, got {str(value)[:40]!r} at row {row}"
                )
        return np.array([np.nan if value is None else worth[str(value)] for value in values])
    number = np.asarray(values, dtype=np.float64)
    allowed = (0.0, 1.0) if kind == "endorsed" else (1.0, 2.0, 3.0, 4.0, 5.0)
    bad = ~np.isnan(number) & ~np.isin(number, allowed)
    if bad.any():
        row, expected = first_row(bad), "0 or 1" if kind == "endorsed" else "a whole number from 1 to 5"
        raise FeedError(f"{kind}: expected {expected}, got {number[row]:g} at row {row}")
    if kind == "endorsed":
        return number
    return np.where(np.isnan(number), np.nan, (number >= endorsed_from).astype(np.float64))


def _check_probabilities(answer: FloatArray, probability: FloatArray) -> None:
    missing = ~np.isnan(answer) & np.isnan(probability)
    if missing.any():
        raise FeedError(
            "sampling_probability: expected a probability in (0, 1] where there is an answer, "
            f"got null at row {first_row(missing)}"
        )


def _order(columns: Mapping[str, Sequence[object] | FloatArray]) -> IntArray:
    """(n,) rows by viewer, post and signal, so that results do not depend on the file's order."""
    keys = [np.array([str(v) for v in columns[name]]) for name in ("signal", "post_id", "viewer")]
    order = np.lexsort(keys)
    same = np.ones(len(order) - 1, dtype=bool)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    if same.any():
        row = int(order[first_row(same) + 1])
        found = ", ".join(repr(str(columns[name][row])) for name in ("viewer", "post_id", "signal"))
        raise FeedError(
            f"viewer, post_id, signal: expected each once (more units are a count), got {found} twice"
        )
    return order.astype(np.int64)


def _digest(items: ValueItems) -> str:
    found = hashlib.sha256(repr((items.signals, items.terms, items.countries, items.kind)).encode())
    columns = (items.viewer, items.signal, items.endorsed, items.weight, items.count, items.level)
    for column in (*columns, items.reversed, items.country):
        found.update(b"" if column is None else np.ascontiguousarray(column).tobytes())
    return found.hexdigest()
