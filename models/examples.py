"""Labelled texts as frozen columns, and their parquet form.

NaN means "not annotated": a data set that never asked about threats says nothing about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.taxonomy import label

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LabelledTexts:
    """n texts with their annotations for L labels.

    `target` is float32 (n, L) in [0, 1] (a share of annotators, or a degree), NaN = not annotated;
    `weight` float32 (n, L), at least 0, how much each annotation counts in training.
    `source` names the data set of each text and `split` its part. `group` is an int64 per text: texts
    with the same number are near-duplicates and lie in one split. `aspect` is a property of the text
    to report metrics by, such as the identity it mentions, or "".

    Raises:
        ValueError: columns of different lengths, an unknown label, or values out of range.
    """

    labels: tuple[str, ...]
    text: Sequence[str]
    target: NDArray[np.float32]
    weight: NDArray[np.float32]
    source: NDArray[np.str_]
    split: NDArray[np.str_]
    group: NDArray[np.int64]
    aspect: NDArray[np.str_]

    def __post_init__(self) -> None:
        for name in self.labels:
            label(name)
        shape = (len(self.text), len(self.labels))
        for name in ("target", "weight"):
            values = np.array(getattr(self, name), dtype=np.float32)
            if values.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {values.shape}")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        for name in ("source", "split", "group", "aspect"):
            if len(getattr(self, name)) != shape[0]:
                raise ValueError(f"{name}: expected {shape[0]} values, got {len(getattr(self, name))}")
        if bad := np.argwhere((self.target < 0) | (self.target > 1)).tolist():
            raise ValueError(f"target: expected numbers in [0, 1] or NaN, got another at row {bad[0][0]}")
        if bad := np.argwhere(~(self.weight >= 0) | np.isinf(self.weight)).tolist():
            raise ValueError(f"weight: expected finite numbers >= 0, got another at row {bad[0][0]}")

    @property
    def n(self) -> int:
        """The number of texts."""
        return len(self.text)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "LabelledTexts":
        """These texts, in this order (integer rows or a boolean mask)."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        return LabelledTexts(
            labels=self.labels,
            text=[self.text[int(i)] for i in index],
            target=self.target[index],
            weight=self.weight[index],
            source=self.source[index],
            split=self.split[index],
            group=self.group[index],
            aspect=self.aspect[index],
        )

    def write(self, path: Path) -> None:
        """Writes one parquet file: the text columns, and target.X and weight.X for each label X."""
        columns: dict[str, Any] = {
            "text": pa.array(list(self.text), pa.large_string()),
            "source": pa.array(self.source.tolist(), pa.string()),
            "split": pa.array(self.split.tolist(), pa.string()),
            "group": pa.array(self.group, pa.int64()),
            "aspect": pa.array(self.aspect.tolist(), pa.string()),
        }
        for j, name in enumerate(self.labels):
            columns[f"target.{name}"] = pa.array(self.target[:, j], pa.float32(), from_pandas=True)
            columns[f"weight.{name}"] = pa.array(self.weight[:, j], pa.float32())
        table = pa.table(columns).replace_schema_metadata({"labelled_texts": str(SCHEMA_VERSION)})
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> "LabelledTexts":
        """The texts in a file that `write` made.

        Raises:
            ValueError: the file has another schema.
        """
        table = pq.read_table(path)
        found = (table.schema.metadata or {}).get(b"labelled_texts", b"none").decode()
        if found != str(SCHEMA_VERSION):
            raise ValueError(f"{path}: expected labelled_texts schema {SCHEMA_VERSION}, got {found}")
        labels = tuple(name[len("target.") :] for name in table.column_names if name.startswith("target."))

        def matrix(part: str) -> NDArray[np.float32]:
            columns = [table[f"{part}.{name}"].to_numpy() for name in labels]
            return np.array(columns, dtype=np.float32).reshape(len(labels), table.num_rows).T

        return cls(
            labels=labels,
            text=[str(entry) for entry in table["text"].to_pylist()],
            target=matrix("target"),
            weight=matrix("weight"),
            source=np.array(table["source"].to_pylist(), dtype=np.str_),
            split=np.array(table["split"].to_pylist(), dtype=np.str_),
            group=table["group"].to_numpy(),
            aspect=np.array(table["aspect"].to_pylist(), dtype=np.str_),
        )
