import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from reranker.columns import FeedError
from reranker.convert_command import convert
from reranker.exploded_logs import read_exploded
from reranker.impression_files import read_impressions, write_impressions
from reranker.impressions import ImpressionLog
from reranker.policy import PolicyError
from tests.logs import log_of, values_of

app = typer.Typer()
app.command()(convert)

_PREFIXED = {
    "p_action": "p_",
    "harm": "harm_",
    "groups": "group_",
    "action": "action_",
    "segments": "segment_",
}


def known(value: Any) -> Any:
    """A cell of a table: null for what is missing."""
    if isinstance(value, np.datetime64):
        return value.item()
    return (
        None
        if isinstance(value, float | np.floating) and np.isnan(value)
        else getattr(value, "item", lambda: value)()
    )


def exploded(log: ImpressionLog) -> list[dict[str, Any]]:
    """A row per candidate, cell by cell."""
    rows: list[dict[str, Any]] = []
    for r in range(log.n):
        slots = {int(log.slate[s]): s for s in range(log.slot_offsets[r], log.slot_offsets[r + 1])}
        for c in range(log.offsets[r], log.offsets[r + 1]):
            s = slots.get(c)
            row: dict[str, Any] = {
                "request_id": log.request_id[r],
                "user": log.user[r],
                "item_id": int(log.item_id[c]),
                "score": known(log.score[c]),
                "position": None if s is None else s - int(log.slot_offsets[r]),
            }
            for name in ("time", "temperature", "from_rank", "n_total"):
                row[name] = known(getattr(log, name)[r])
            for name in ("log_prefix_propensity", "viewed", "dwell_ms"):
                row[name] = None if s is None else known(getattr(log, name)[s])
            row |= {f"p_{name}": known(values[c]) for name, values in log.p_action.items()}
            row |= {f"harm_{name}": known(values[c]) for name, values in log.harm.items()}
            row |= {f"group_{name}": int(values[c]) for name, values in log.groups.items()}
            row |= {
                f"action_{n}": None if s is None else known(values[s]) for n, values in log.action.items()
            }
            row |= {f"segment_{name}": values[r] for name, values in log.segments.items()}
            rows.append(row)
    return rows


def written(path: Path, rows: list[dict[str, Any]], metadata: dict[str, str] | None = None) -> Path:
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=7)
    return path


@pytest.fixture
def log() -> ImpressionLog:
    made = log_of(40, seed=1)
    return made.take(np.flatnonzero(np.diff(made.offsets) > 0))


def same(found: ImpressionLog, expected: ImpressionLog, folder: Path) -> bool:
    """Compared as they are read back from a packed file: codes of texts are in the order of the rows."""
    logs = []
    for i, log in enumerate((found, expected)):
        write_impressions([log], folder / f"{i}.parquet")
        logs.append(values_of(next(iter(read_impressions(folder / f"{i}.parquet")))))
    return logs[0] == logs[1]


def test_rows_of_candidates_become_the_log_that_they_were(log: ImpressionLog, tmp_path: Path) -> None:
    path, output = written(tmp_path / "rows.parquet", exploded(log)), tmp_path / "logs.parquet"
    done = CliRunner().invoke(app, [str(path), "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert f"{log.n} requests, {log.n_candidates} candidates, {log.n_slots} slots" in done.output
    assert same(next(iter(read_impressions(output))), log, tmp_path)


def test_pieces_smaller_than_the_table_change_nothing(log: ImpressionLog, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.parquet", exploded(log))
    pieces = list(read_exploded(path, rows_at_once=10))
    assert len(pieces) > 3
    output = tmp_path / "logs.parquet"
    write_impressions(pieces, output)
    assert same(next(iter(read_impressions(output))), log, tmp_path)


def test_a_directory_is_one_table_in_which_a_request_may_go_on(log: ImpressionLog, tmp_path: Path) -> None:
    rows, folder = exploded(log), tmp_path / "rows"
    folder.mkdir()
    middle = next(i for i in range(20, len(rows)) if rows[i]["request_id"] == rows[i - 1]["request_id"])
    written(folder / "a.parquet", rows[:middle])
    written(folder / "b.parquet", rows[middle:])
    assert same(next(read_exploded(folder)), log, tmp_path)


def edited(rows: list[dict[str, Any]], change: str) -> list[dict[str, Any]]:
    shown = next(i for i, row in enumerate(rows) if row["position"] is not None)
    hidden = next(i for i, row in enumerate(rows) if row["position"] is None)
    if change == "gap":
        rows[shown] = rows[shown] | {"position": 9}
    elif change == "user":
        other = next(i for i in range(1, len(rows)) if rows[i]["request_id"] == rows[i - 1]["request_id"])
        rows[other] = rows[other] | {"user": "somebody"}
    elif change == "lost":
        rows[hidden] = rows[hidden] | {"action_like": 1.0}
    elif change == "null":
        rows[shown] = rows[shown] | {"action_like": None}
    elif change == "apart":
        rows.append(dict(rows[0]))
    elif change == "unknown":
        rows = [row | {"mood": 1.0} for row in rows]
    elif change == "missing":
        rows = [{key: value for key, value in row.items() if key != "user"} for row in rows]
    elif change == "type":
        rows = [row | {"score": "high"} for row in rows]
    return rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gap", "position: expected each of 0, 1, 2, ... once in a request, got"),
        ("user", "user: expected one value in a request, got another at row"),
        ("lost", "action_like: expected nothing where position is null, got a value at row"),
        ("null", "action_like: expected a value where position is given, got null at row"),
        ("apart", "request_id: expected the rows of a request together, got"),
        ("unknown", "expected columns of request_id, .*, got mood"),
        ("missing", "expected a column user, got"),
        ("type", "score: expected numbers, got string"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    change: str, message: str, log: ImpressionLog, tmp_path: Path
) -> None:
    path = written(tmp_path / "rows.parquet", edited(exploded(log), change))
    output = tmp_path / "logs.parquet"
    done = CliRunner().invoke(app, [str(path), "-o", str(output)])
    assert isinstance(done.exception, FeedError)
    with pytest.raises(FeedError, match=f"rows.parquet: .*{message}"):
        raise done.exception
    assert [file.name for file in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_request_that_comes_again_much_later_is_refused(log: ImpressionLog, tmp_path: Path) -> None:
    rows = exploded(log)
    again = [row for row in rows if row["request_id"] == rows[0]["request_id"]]
    path = written(tmp_path / "rows.parquet", [*rows, *again])
    with pytest.raises(FeedError, match="expected the rows of a request together, got a request in several"):
        list(read_exploded(path, rows_at_once=10))


def test_another_schema_a_packed_log_and_no_rows_are_refused(log: ImpressionLog, tmp_path: Path) -> None:
    said = {"reranker.exploded": json.dumps({"schema": 2})}
    path = written(tmp_path / "rows.parquet", exploded(log), said)
    with pytest.raises(FeedError, match="expected exploded schema 1, got 2"):
        list(read_exploded(path))
    write_impressions([log], tmp_path / "packed.parquet")
    with pytest.raises(FeedError, match="expected a row per candidate, got an impression log"):
        list(read_exploded(tmp_path / "packed.parquet"))
    pq.write_table(pq.read_table(written(path, exploded(log))).slice(0, 0), path)
    with pytest.raises(FeedError, match="expected rows of candidates, got none"):
        list(read_exploded(path))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(FeedError, match=r"cut.parquet: expected a whole parquet file"):
        list(read_exploded(tmp_path / "cut.parquet"))


def test_values_are_one_of_three(log: ImpressionLog, tmp_path: Path) -> None:
    path, output = written(tmp_path / "rows.parquet", exploded(log)), tmp_path / "logs.parquet"
    done = CliRunner().invoke(app, [str(path), "-o", str(output), "--values", "int4"])
    assert isinstance(done.exception, PolicyError)
    assert not output.exists()
    done = CliRunner().invoke(app, [str(path), "-o", str(output), "--values", "uint8"])
    assert done.exit_code == 0, done.output
