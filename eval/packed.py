"""Requests in parquet, one row per request: the probabilities of all its candidates are one blob per column.

A row per candidate costs some 20 times as much to read. A row group is a partition: it is read, evaluated
and resampled on its own, so sort the file by user if there is to be a bootstrap, or each partition draws
the weights of all users again (the result is the same).
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eval.slates import PackedRequests
from eval.stream import Partition
from reranker.tables import Array
from reranker.writing import atomic

_KIND = b"reranker.packed"
_BLOBS = {"multiplier": np.dtype(np.float64), "stop": np.dtype(np.float64)}
DTYPES = ("uint8", "float32", "float64")


def write_packed(batches: Iterable[PackedRequests], path: str | Path) -> None:
    """Writes batches of requests as the row groups of one file, which is there whole or not at all.

    Args:
        batches: with the same actions, harms and kinds of number.
        path: a .parquet file.

    Raises:
        ValueError: there is no batch, or two differ in their columns.
    """
    writer = None
    with atomic(path) as temporary:
        for batch in batches:
            table = _table(batch)
            if writer is None:
                schema = table.schema
                writer = pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=False)
            if not table.schema.equals(schema, check_metadata=True):
                raise ValueError(f"{path}: expected batches with the same columns, got others in one")
            writer.write_table(table, row_group_size=max(batch.n, 1))
        if writer is None:
            raise ValueError(f"{path}: expected at least one batch, got none")
        writer.close()


def packed_partitions(paths: Iterable[str | Path]) -> list[Partition[PackedRequests]]:
    """The row groups of files of `write_packed`, each read when it is asked for.

    Raises:
        ValueError: a file of another kind.
    """
    made = []
    for path in map(Path, paths):
        with closing(pq.ParquetFile(path)) as file:
            if _KIND not in (file.schema_arrow.metadata or {}):
                raise ValueError(f"{path}: expected packed requests, got another parquet file")
            stamp = f"{path.stat().st_size}-{path.stat().st_mtime_ns}"
            made += [Partition(f"{path.name}:{i}", _Load(path, i), stamp) for i in range(file.num_row_groups)]
    return made


class _Load:
    """Reads one row group."""

    def __init__(self, path: Path, group: int) -> None:
        self._path, self._group = path, group

    def __call__(self) -> PackedRequests:
        with closing(pq.ParquetFile(self._path)) as file:
            return _requests(file.read_row_group(self._group))


def _table(batch: PackedRequests) -> pa.Table:
    columns: dict[str, Any] = {
        "user": pa.array(batch.user),
        "segment": pa.array(batch.segment.astype(np.int32)),
        "n_candidates": pa.array(np.diff(batch.offsets).astype(np.int32)),
    }
    for kind, names, values in (
        ("action", batch.actions, batch.p_action),
        ("harm", batch.harms, batch.p_harm),
    ):
        if values.dtype.name not in DTYPES:
            raise ValueError(f"{kind}: expected one of {', '.join(DTYPES)}, got {values.dtype}")
        columns |= {f"{kind}:{name}": _blobs(row, batch) for name, row in zip(names, values, strict=True)}
    columns |= {
        name: _blobs(getattr(batch, name), batch) for name in _BLOBS if getattr(batch, name) is not None
    }
    kinds = f"{batch.p_action.dtype.name},{batch.p_harm.dtype.name}"
    return pa.table(columns).replace_schema_metadata({_KIND: kinds.encode()})


def _blobs(values: NDArray[Any], batch: PackedRequests) -> Array:
    """One blob per request."""
    ends = batch.offsets * values.itemsize
    if ends[-1] >= 2**31:
        raise ValueError(f"batch: expected blobs below 2 GiB, got {ends[-1]} bytes; write smaller batches")
    buffers = [None, pa.py_buffer(ends.astype(np.int32).tobytes()), pa.py_buffer(values.tobytes())]
    return pa.BinaryArray.from_buffers(pa.binary(), batch.n, buffers)


def _requests(table: pa.Table) -> PackedRequests:
    table = table.combine_chunks()
    kinds = (table.schema.metadata or {})[_KIND].decode().split(",")
    counts = table.column("n_candidates").to_numpy()
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    parts: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
    for kind, dtype in zip(("action", "harm"), map(np.dtype, kinds), strict=True):
        names = tuple(name.partition(":")[2] for name in table.column_names if name.startswith(f"{kind}:"))
        values = np.empty((len(names), int(offsets[-1])), dtype=dtype)
        for row, name in zip(values, names, strict=True):
            row[:] = _flat(table, f"{kind}:{name}", dtype)
        parts[kind] = names, values
    own = {
        name: _flat(table, name, dtype) if name in table.column_names else None
        for name, dtype in _BLOBS.items()
    }
    return PackedRequests(
        user=table.column("user").to_numpy().astype(np.uint64),
        segment=table.column("segment").to_numpy(),
        offsets=offsets,
        actions=parts["action"][0],
        p_action=parts["action"][1],
        harms=parts["harm"][0],
        p_harm=parts["harm"][1],
        **own,
    )


def _flat(table: pa.Table, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(c,) the blobs of all requests, one after another."""
    chunks = [
        np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]
        for chunk in table.column(name).chunks
        for ends, data in [_buffers(chunk)]
    ]
    whole: NDArray[np.uint8] = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.uint8)
    return whole.view(dtype)


def _buffers(chunk: Any) -> tuple[NDArray[np.int32], Any]:
    _, ends, data = chunk.buffers()
    found = np.frombuffer(ends, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    return found, b"" if data is None else data
