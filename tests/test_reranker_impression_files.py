"""Logs of impressions as parquet: what is written comes back, and what is not a log is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reranker.impression_files as files
from reranker.columns import FeedError, StringColumn
from reranker.exploration import log_prefix_propensity
from reranker.impression_codes import code_table, encode
from reranker.impression_files import read_impressions, to_half, write_impressions
from reranker.impression_layout import KEY
from reranker.impressions import ImpressionLog
from tests.logs import log_columns, log_of, values_of

MINIMUM = (
    "request_id",
    "user",
    "offsets",
    "item_id",
    "score",
    "slot_offsets",
    "slate",
    "log_prefix_propensity",
)


def rewritten(path: Path, change: Any) -> Path:
    """The file with its table changed."""
    table = change(pq.read_table(path))
    pq.write_table(table, path)
    return path


def said(path: Path, **changes: Any) -> Path:
    """The file with its metadata changed."""
    metadata = json.loads(pq.read_schema(path).metadata[KEY])
    return rewritten(path, lambda t: t.replace_schema_metadata({KEY: json.dumps(metadata | changes)}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_impressions([log_of()], tmp_path / "log.parquet")
    return tmp_path / "log.parquet"


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 8), seed=st.integers(0, 99), most=st.sampled_from([0, 1, 7]))
def test_a_log_comes_back_to_the_last_bit(tmp_path_factory: Any, n: int, seed: int, most: int) -> None:
    path, log = tmp_path_factory.mktemp("log") / "log.parquet", log_of(n, seed=seed, most=most)
    write_impressions([log], path)
    (back,) = read_impressions(path)
    assert values_of(back) == values_of(log)


def test_requests_of_one_length_may_be_written_as_such(tmp_path: Path) -> None:
    n, c = 5, 20
    slots = {"slot_offsets": np.arange(n + 1) * 2, "slate": (np.arange(n)[:, None] * 4 + [3, 1]).ravel()}
    ids = StringColumn.from_values(f"r{i}" for i in range(n))
    log = ImpressionLog(
        request_id=ids,
        user=ids,
        offsets=np.arange(n + 1) * 4,
        item_id=np.arange(c),
        score=np.arange(c) / 7,
        log_prefix_propensity=np.full(2 * n, -1.0),
        harm={"toxicity": np.linspace(0, 1, c).astype(np.float32)},
        **slots,
    )
    path = tmp_path / "log.parquet"
    write_impressions([log], path, n_candidates=4)
    assert str(pq.read_schema(path).field("harm_toxicity").type) == "fixed_size_binary[16]"
    (back,) = read_impressions(path)
    assert values_of(back) == values_of(log)
    with pytest.raises(FeedError, match=r'log 0: expected 3 candidates, got 4 at request "r0"'):
        write_impressions([log], path, n_candidates=3)
    with pytest.raises(FeedError, match=r"n_candidates: expected a number from 1, got 0"):
        write_impressions([log], path, n_candidates=0)


def test_what_was_not_logged_is_not_there_either(tmp_path: Path) -> None:
    columns = log_columns()
    log = ImpressionLog(**{name: columns[name] for name in MINIMUM})
    write_impressions([log], tmp_path / "log.parquet")
    (back,) = read_impressions(tmp_path / "log.parquet")
    assert values_of(back) == values_of(log)
    assert back.viewed is None
    assert back.harm == {}


def test_nulls_come_back_as_nulls(tmp_path: Path) -> None:
    time = np.array(["2020-10-01", "NaT"], "datetime64[us]")
    country = StringColumn.from_values([None, "MM"])
    log = log_of(2, time=time, temperature=np.array([np.nan, 1.0]), segments={"country": country})
    write_impressions([log], tmp_path / "log.parquet")
    (back,) = read_impressions(tmp_path / "log.parquet")
    assert values_of(back) == values_of(log)
    assert back.segments["country"].to_list() == [None, "MM"]


@pytest.mark.parametrize("values", ["float16", "float32", "uint8"])
def test_the_logger_as_target_has_weights_of_exactly_one(tmp_path: Path, values: Any) -> None:
    """D19: scores and propensities keep every bit, so the ratio of probabilities is 1, not nearly 1."""
    write_impressions([log_of(40)], tmp_path / "log.parquet", values=values)
    (log,) = read_impressions(tmp_path / "log.parquet")
    again = log_prefix_propensity(log.score, log.offsets, log.slate, log.slot_offsets, 0.5)
    assert np.exp(again - log.log_prefix_propensity).tolist() == [1.0] * log.n_slots


def test_half_precision_rounds_probabilities_and_nothing_else(tmp_path: Path) -> None:
    log = log_of(20)
    write_impressions([log], tmp_path / "log.parquet", values="float16")
    (back,) = read_impressions(tmp_path / "log.parquet")
    assert back.p_action["like"].dtype == np.float32
    assert back.p_action["like"] == pytest.approx(log.p_action["like"], rel=2**-11)
    assert back.harm["toxicity"] == pytest.approx(log.harm["toxicity"], rel=2**-11, nan_ok=True)
    for name in ("score", "log_prefix_propensity", "item_id", "dwell_ms"):
        assert getattr(back, name).tobytes() == getattr(log, name).tobytes()


def test_codes_of_a_byte_keep_what_is_missing_and_are_the_same_when_written_again(tmp_path: Path) -> None:
    log = log_of(20)
    write_impressions([log], tmp_path / "log.parquet", values="uint8")
    (back,) = read_impressions(tmp_path / "log.parquet")
    expected = code_table().astype(np.float32)
    assert back.p_action["like"].tobytes() == expected[encode(log.p_action["like"].astype(float))].tobytes()
    assert (np.isnan(back.harm["toxicity"]) == np.isnan(log.harm["toxicity"])).all()
    assert back.score.tobytes() == log.score.tobytes()
    write_impressions([back], tmp_path / "again.parquet", values="uint8")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "log.parquet").read_bytes()


def test_half_precision_is_that_of_numpy_to_the_bit() -> None:
    every = np.arange(0x3C01, dtype=np.uint16).view(np.float16).astype(np.float32)  # each half in [0, 1]
    between = (every[1:].astype(np.float64) + every[:-1]) / 2  # ties, which go to the even one
    near = np.nextafter(between.astype(np.float32), np.float32(0))
    drawn = np.random.default_rng(0).beta(0.1, 5, 20_000)
    for values in (every, between, between.astype(np.float32), near, drawn, np.array([0, 1, np.nan, 1e-45])):
        expected = values.astype(np.float32).astype(np.float16)
        assert to_half(values).tobytes() == expected.tobytes()


def test_the_numbers_are_read_where_they_lie(path: Path) -> None:
    (log,) = read_impressions(path)
    for values in (log.score, log.p_action["like"], log.harm["toxicity"], log.viewed, log.item_id):
        assert isinstance(values, np.ndarray)
        assert not values.flags.owndata
        base = values
        while isinstance(base, np.ndarray):
            base = base.base
        assert not isinstance(base, bytes)  # the buffer of the reader


def test_any_cut_of_a_stream_gives_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups are of 4 requests here; a last one of fewer than 2 joins the one before it."""
    monkeypatch.setattr(files, "ROWS_PER_GROUP", 4)
    whole = log_of(13)

    def cut(width: int) -> Iterator[ImpressionLog]:
        for start in range(0, whole.n, width):
            yield whole.take(np.arange(start, min(start + width, whole.n)))

    found = {}
    for width in (1, 2, 13):
        write_impressions(cut(width), tmp_path / "log.parquet")
        batches = list(read_impressions(tmp_path / "log.parquet"))
        assert [batch.n for batch in batches] == [4, 4, 5]
        found[width] = [values_of(batch) for batch in batches]
    assert found[1] == found[2] == found[13]


def test_a_row_group_is_cut_at_its_candidates_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CANDIDATES_PER_GROUP", 8)
    whole = log_of(12, most=9)
    write_impressions([whole], tmp_path / "log.parquet")
    batches = list(read_impressions(tmp_path / "log.parquet"))
    assert [batch.n_candidates for batch in batches[:-1] if batch.n > 1 and batch.n_candidates > 8] == []
    ids = [name for batch in batches for name in batch.request_id]
    assert ids == whole.request_id.to_list()


def test_a_directory_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    write_impressions([log_of(3, first=3)], tmp_path / "b.parquet")
    write_impressions([log_of(3)], tmp_path / "a.parquet")
    batches = list(read_impressions(tmp_path))
    assert [name for batch in batches for name in batch.request_id] == [f"r{i}" for i in range(6)]
    with pytest.raises(FeedError, match=r"expected \.parquet files in the directory, found none"):
        list(read_impressions(tmp_path_of(tmp_path, "empty")))


def tmp_path_of(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_another_schema_is_refused_in_one_line(path: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FeedError, match=r"log.parquet: expected an impression log of schema 1, got schema 0$"
    ):
        list(read_impressions(said(path, schema=0)))
    with pytest.raises(FeedError, match=r"expected an impression log of schema 1, got schema 2$"):
        list(read_impressions(said(path, schema=2)))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(FeedError, match=r"expected an impression log of schema 1, got none$"):
        list(read_impressions(tmp_path / "x.parquet"))


def test_a_file_that_is_not_what_it_says_is_refused(path: Path, tmp_path: Path) -> None:
    original = path.read_bytes()

    def refused(message: str, change: Any) -> None:
        path.write_bytes(original)
        with pytest.raises(FeedError, match=message):
            list(read_impressions(change(path)))

    refused(r"values: expected one of .*, got 'uint4'", lambda p: said(p, values="uint4"))
    refused(r"byte_order: expected little, got 'big'", lambda p: said(p, byte_order="big"))
    refused(r"n_candidates: expected a number from 1, or null, got 0", lambda p: said(p, n_candidates=0))
    refused(r"item_id: expected fixed_size_binary\[32\], got binary", lambda p: said(p, n_candidates=4))
    refused(r"harm: expected a list of names, got 'toxicity'", lambda p: said(p, harm="toxicity"))
    refused(r"harm_threat: expected binary, got no such column", lambda p: said(p, harm=["threat"]))

    def column(name: str, value: Any) -> Any:
        def change(table: pa.Table) -> pa.Table:
            made = pa.array([value, *table[name].to_pylist()[1:]], table[name].type)
            return table.set_column(table.column_names.index(name), name, made)

        return lambda p: rewritten(p, change)

    refused(
        r"harm_toxicity: expected numbers of 4 bytes, got others at row 0", column("harm_toxicity", b"abc")
    )
    refused(r"harm_toxicity: expected a value in every row, got null at row 0", column("harm_toxicity", None))
    refused(
        r"p_like: expected 0 numbers as in item_id, got 1 at row 0|expected \d+ numbers as in item_id, got 1",
        column("p_like", b"\0\0\0\0"),
    )
    refused(r"n_total: expected a value in every row, got null at row 0", column("n_total", None))
    refused(r"user: expected a value, got null at request 0", column("user", None))
    path.write_bytes(original[:-100])
    with pytest.raises(FeedError, match=r"log.parquet: expected parquet, got "):
        list(read_impressions(path))
    with pytest.raises(FeedError, match=r"none.parquet: expected a file, found none"):
        list(read_impressions(tmp_path / "none.parquet"))


def test_a_damaged_page_is_refused_in_one_line(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    with pytest.raises(FeedError, match=r"log.parquet: "):
        list(read_impressions(path))


def test_a_bad_request_in_a_file_is_named_with_the_file(path: Path) -> None:
    (log,) = read_impressions(path)

    def change(table: pa.Table) -> pa.Table:
        numbers = np.array(log.log_prefix_propensity)
        numbers[-1] = 0.5
        cut = [numbers[a:b].tobytes() for a, b in zip(log.slot_offsets, log.slot_offsets[1:], strict=False)]
        at = table.column_names.index("log_prefix_propensity")
        return table.set_column(at, "log_prefix_propensity", pa.array(cut, pa.binary()))

    with pytest.raises(
        FeedError, match=r'log.parquet: log_prefix_propensity: .* got 0.5 at request "r4", slot'
    ):
        list(read_impressions(rewritten(path, change)))


def test_what_cannot_be_written_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    with pytest.raises(FeedError, match=r"expected a name that ends in .parquet"):
        write_impressions([log_of()], tmp_path / "log.csv")
    with pytest.raises(FeedError, match=r"expected at least one log, got none"):
        write_impressions([], path)
    with pytest.raises(FeedError, match=r"values: expected one of"):
        write_impressions([log_of()], path, values="float8")  # type: ignore[arg-type]
    with pytest.raises(
        FeedError, match=r"log 1: harm: expected \('toxicity',\) as in the first log, got \(\)"
    ):
        write_impressions([log_of(), log_of(first=6, harm={})], path)
    assert list(tmp_path.iterdir()) == []
