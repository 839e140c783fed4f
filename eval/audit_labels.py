"""What people said of a sample of posts: a side table of item, harm, y, sampling_prob and rater, checked.

One row per rater, item and harm. Raters of an item are averaged; how far they agree is told. Rows without a
label make the file a list of all that could have been drawn: what is not on it then had no chance.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from reranker.columns import BoolArray, FeedError, FloatArray, IntArray, freeze_arrays
from reranker.tables import first_line

COLUMNS = ("item", "harm", "y", "sampling_prob")
RATER = "rater"
CERTAINTY = 1e-9  # by which two chances of one item may differ


@dataclass(frozen=True, eq=False)
class LabelSample:
    """One harm in a sample of posts.

    Attributes:
        item: ids of the posts, sorted.
        label: (m,) mean over the raters: 1 harmful, 0 not, NaN where nobody was asked.
        inclusion: (m,) the chance that each was drawn.
        is_frame: whether posts that are not in it had no chance to be drawn.
        n_raters: people who labelled.
        n_twice: posts with more than one label.
        agreement: Krippendorff's alpha over these; None where there is none, or all labels are alike.
    """

    item: tuple[str, ...]
    label: FloatArray
    inclusion: FloatArray
    is_frame: bool
    n_raters: int
    n_twice: int
    agreement: float | None

    def __post_init__(self) -> None:
        freeze_arrays(self)

    @property
    def n_labels(self) -> int:
        """Posts with a label."""
        return int((~np.isnan(self.label)).sum())


@dataclass(frozen=True)
class HumanLabels:
    """The samples of a file.

    Attributes:
        name: of the file.
        samples: by harm.
        digest: sha256 of what they hold, whatever the order of the rows.
    """

    name: str
    samples: Mapping[str, LabelSample]
    digest: str


def read_labels(path: str | Path) -> HumanLabels:
    """The labels of a .csv or .parquet file with the columns item, harm, y, sampling_prob and maybe rater.

    y is 1 for harmful, 0 for not, anything between for a doubt, and empty where nobody was asked.

    Raises:
        FeedError: a column is missing, a value is none, a rater labelled an item twice, or an item has two
            chances.
    """
    path = Path(path)
    table = _table(path)
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise FeedError(f"{path}: expected columns {', '.join(COLUMNS)}, got none named {', '.join(missing)}")
    texts = {name: _texts(table, name) for name in (*COLUMNS, RATER) if name in table.column_names}
    for name in ("item", "harm", "sampling_prob"):
        _refuse(path, name, np.array([not value for value in texts[name]]), "a value", texts[name])
    y, chance = (_numbers(path, name, texts[name]) for name in ("y", "sampling_prob"))
    _refuse(path, "y", (y < 0) | (y > 1), "a number in [0, 1], or nothing", texts["y"])
    _refuse(
        path, "sampling_prob", ~((chance > 0) & (chance <= 1)), "a number in (0, 1]", texts["sampling_prob"]
    )
    raters = texts.get(RATER, [""] * len(y))
    rows: dict[str, list[int]] = {}
    for row, harm in enumerate(texts["harm"]):
        rows.setdefault(harm, []).append(row)
    samples = {
        harm: _sample(path, [texts["item"][i] for i in at], [raters[i] for i in at], (y[at], chance[at]))
        for harm, at in sorted(rows.items())
    }
    return HumanLabels(path.name, samples, _digest(samples))


def krippendorff_alpha(unit: IntArray, value: FloatArray) -> float | None:
    """How far raters agree beyond chance: 1 for always, 0 for as often as by chance.

    By squared differences, which for 0 and 1 is agreement as such. Units with one value count for nothing.

    Args:
        unit: (n,) codes of what was rated.
        value: (n,) ratings.

    Returns:
        None where no unit has two values, or all values are the same.

    Source: Krippendorff, Content Analysis, 4th edition, 2019, chapter 12.

    Example:
        >>> krippendorff_alpha(np.array([0, 0, 1, 1]), np.array([0.0, 0.0, 1.0, 1.0]))
        1.0
    """
    counts = np.bincount(unit)
    kept = counts[unit] > 1
    if not kept.any():
        return None
    count = np.bincount(unit[kept])
    total, squares = (np.bincount(unit[kept], weights=value[kept] ** power) for power in (1, 2))
    many = count > 1
    n = int(count.sum())
    within = 2 * float(((count * squares - total**2)[many] / (count[many] - 1)).sum()) / n
    apart = 2 * float(n * squares.sum() - total.sum() ** 2) / (n * (n - 1))
    return None if apart <= 0 else 1.0 - within / apart


def _table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pa.parquet.read_table(path)
        if path.suffix == ".csv":
            kinds = dict.fromkeys((*COLUMNS, RATER), pa.string())  # "007" is an id, not a number
            return pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(column_types=kinds))
    except (pa.ArrowException, OSError) as error:
        raise FeedError(f"{path}: expected a table, got {first_line(error)}") from None
    raise FeedError(f"{path}: expected .csv or .parquet, got {path.suffix or 'no ending'}")


def _texts(table: pa.Table, name: str) -> list[str]:
    """Values as they are written, "" for null."""
    try:
        return [value or "" for value in table[name].cast(pa.string()).to_pylist()]
    except pa.ArrowException as error:
        raise FeedError(f"{name}: expected texts or numbers, got {first_line(error)}") from None


def _numbers(path: Path, name: str, texts: list[str]) -> FloatArray:
    """(n,) NaN where there is none."""
    numbers = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        try:
            numbers[row] = float(text) if text else np.nan
        except ValueError:
            raise FeedError(f"{path}: {name}: expected a number, got {text!r} at row {row + 1}") from None
        if text and not np.isfinite(numbers[row]):
            raise FeedError(f"{path}: {name}: expected a finite number, got {text!r} at row {row + 1}")
    return numbers


def _refuse(path: Path, name: str, wrong: BoolArray, expected: str, texts: list[str]) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise FeedError(f"{path}: {name}: expected {expected}, got {texts[row] or 'none'} at row {row + 1}")


def _sample(
    path: Path, item: list[str], rater: list[str], numbers: tuple[FloatArray, FloatArray]
) -> LabelSample:
    y, chance = numbers
    names, code = np.unique(np.array(item, dtype=str), return_inverse=True)
    pairs = set[tuple[str, str]]()
    for i, pair in enumerate(zip(item, rater, strict=True)):
        if pair in pairs:
            who = f" by {rater[i]}" if rater[i] else ""
            raise FeedError(f"{path}: expected each rater once per item and harm, got {item[i]!r} again{who}")
        pairs.add(pair)
    low, high = np.full(len(names), np.inf), np.zeros(len(names))
    np.minimum.at(low, code, chance)
    np.maximum.at(high, code, chance)
    if (high - low > CERTAINTY).any():
        at = int((high - low > CERTAINTY).argmax())
        raise FeedError(
            f"{path}: sampling_prob: expected one per item and harm, got {low[at]:g} and {high[at]:g} for "
            f"{names[at]!s}"
        )
    asked = ~np.isnan(y)
    count = np.bincount(code[asked], minlength=len(names))
    total = np.bincount(code[asked], weights=y[asked], minlength=len(names))
    return LabelSample(
        tuple(names.tolist()),
        np.where(count > 0, total / np.maximum(count, 1), np.nan),
        high,
        bool((count == 0).any()),
        len({rater[i] for i in np.flatnonzero(asked)} - {""}),
        int((count > 1).sum()),
        krippendorff_alpha(code[asked], y[asked]),
    )


def _digest(samples: Mapping[str, LabelSample]) -> str:
    found = hashlib.sha256()
    for harm, sample in samples.items():
        for row in zip(sample.item, sample.label.tolist(), sample.inclusion.tolist(), strict=True):
            found.update(f"{harm}\0{row[0]}\0{row[1]!r}\0{row[2]!r}\n".encode())
    return found.hexdigest()
