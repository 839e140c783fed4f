"""Files of engagements with answers: formats, joined scores, and every kind of bad input; the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from models.scores import HarmScores
from reranker.columns import FeedError
from reranker.fit_value_command import fit_value
from reranker.policy import PolicyError
from reranker.presets import load_policy
from reranker.results import harms_to_arrow
from training.value_items import items_from_columns
from training.value_reading import read_items
from training.value_sample import Survey, main, sample_columns


def rows() -> dict[str, list[Any]]:
    return {
        "viewer": ["b", "a", "a", "c"],
        "post_id": ["p1", "p2", "p1", "p1"],
        "signal": ["like", "comment", "like", "like"],
        "endorsed": [1.0, 0.0, None, 1.0],
        "sampling_probability": [0.5, 0.25, None, 1.0],
        "toxicity": [0.1, None, 0.1, 0.1],
        "angry_share": [0.0, 0.5, 0.0, 0.0],
        "country": ["BR", None, None, "US"],
        "count": [1.0, 3.0, 1.0, 1.0],
    }


def write(folder: Path, columns: dict[str, Any], suffix: str = ".parquet") -> Path:
    path, table = folder / f"items{suffix}", pa.table(columns)
    if suffix == ".parquet":
        pq.write_table(table, path)
    elif suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), "utf-8")
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_all_formats_are_read_alike_and_rows_are_sorted(tmp_path: Path, suffix: str) -> None:
    items = read_items(write(tmp_path, rows(), suffix))
    assert items.signals == ("like", "comment")
    assert items.viewer.tolist() == [0, 0, 1, 2]
    assert items.signal.tolist() == [0, 1, 0, 0]  # viewer a: p1, then p2
    np.testing.assert_array_equal(items.endorsed, [np.nan, 0, 1, 1])
    assert items.weight.tolist() == [0, 4, 2, 1]
    assert items.count.tolist() == [1, 3, 1, 1]
    assert items.terms == ("toxicity", "angry_share")
    np.testing.assert_array_equal(items.level[0], [0.1, np.nan, 0.1, 0.1])
    assert items.countries == ("BR", "US")
    assert items.country is not None
    assert items.country.tolist() == [-1, -1, 0, 1]


def test_formats_and_orders_have_one_digest(tmp_path: Path) -> None:
    turned = {name: values[::-1] for name, values in rows().items()}
    found = {
        read_items(write(tmp_path, columns, suffix)).digest
        for columns in (rows(), turned)
        for suffix in (".parquet", ".csv", ".jsonl")
    }
    assert len(found) == 1
    other = rows() | {"endorsed": [0.0, 0.0, None, 1.0]}
    assert read_items(write(tmp_path, other)).digest not in found


def test_ratings_and_explicit_signals_are_answers(tmp_path: Path) -> None:
    given = rows()
    del given["endorsed"]
    rated = read_items(write(tmp_path, given | {"rating": [4, 3, None, 5]}))
    np.testing.assert_array_equal(rated.endorsed, [np.nan, 0, 1, 1])
    strict = read_items(write(tmp_path, given | {"rating": [4, 3, None, 5]}), endorsed_from=5)
    np.testing.assert_array_equal(strict.endorsed, [np.nan, 0, 0, 1])
    told = read_items(write(tmp_path, given | {"explicit": ["worth_your_time", "hide", None, "report"]}))
    np.testing.assert_array_equal(told.endorsed, [np.nan, 0, 1, 0])


def test_scores_are_joined_by_post(tmp_path: Path) -> None:
    given = rows()
    del given["toxicity"]
    values = np.array([[0.2, 0.9], [0.7, np.nan], [0.0, 0.0]], dtype=np.float32)
    scores = HarmScores(("toxicity", "clickbait"), values, np.where(np.isnan(values), np.nan, 1.0), "test")
    table = harms_to_arrow({"post_id": ["p1", "p2", "p9"]}, scores, np.array([0.5, np.nan, 0.1]))
    path = tmp_path / "scores.parquet"
    pq.write_table(table, path)
    items = read_items(write(tmp_path, given), path)
    assert items.terms == ("toxicity", "clickbait", "angry_share", "comment_toxicity")
    np.testing.assert_allclose(items.level[0], [0.2, 0.7, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(items.level[1], [0.9, np.nan, 0.9, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(items.level[3], [0.5, np.nan, 0.5, 0.5])
    with pytest.raises(FeedError, match=r"toxicity: expected it in the items or in .*, got it in both"):
        read_items(write(tmp_path, rows()), path)
    pq.write_table(table.slice(0, 1), path)
    with pytest.raises(FeedError, match="expected scores of every post, got none of 'p2'"):
        read_items(write(tmp_path, given), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"viewer": None}, "viewer: expected a column"),
        ({"sampling_probability": None}, "sampling_probability: expected a column"),
        ({"endorsed": None}, "expected one column of endorsed, rating, explicit, got none"),
        ({"rating": [1, 2, 3, 4]}, "got endorsed, rating"),
        ({"endorsed": [0.5, 0, None, 1]}, "endorsed: expected 0 or 1, got 0.5 at row 0"),
        ({"endorsed": None, "rating": [1, 2, 3, 9]}, "rating: expected a whole number from 1 to 5, got 9"),
        (
            {"endorsed": None, "explicit": ["hide", "hid", None, None]},
            "explicit: expected .*got 'hid' at row 1",
        ),
        ({"sampling_probability": [0.0, 1, 1, 1]}, r"expected a probability in \(0, 1\], got 0 at row 0"),
        ({"sampling_probability": [None, 1, 1, 1]}, "where there is an answer, got null at row 0"),
        ({"toxicity": [1.5, 0, 0, 0]}, r"toxicity: expected a number in \[0, 1\], got 1.5 at row 0"),
        ({"angry_share": [0, float("inf"), 0, 0]}, "angry_share: expected a finite number, got inf at row 1"),
        ({"toxicity": [0, float("nan"), 0, 0]}, "toxicity: expected a finite number, got nan at row 1"),
        ({"toxicity": ["x", "0", "0", "0"]}, "toxicity: expected a number"),
        ({"toxcity": [0.0] * 4}, 'unknown column "toxcity".*did you mean "toxicity"'),
        ({"signal": ["like", "liek", "like", "like"]}, 'signal: unknown signal "liek" at row 1.*"like"'),
        ({"viewer": ["a", None, "b", "c"]}, "viewer: expected a value, got null at row 1"),
        ({"viewer": ["a", "b", "a", "a"]}, "expected each once .*got 'a', 'p1', 'like' twice"),
        ({"count": [0.0, 1, 1, 1]}, "count: expected a finite number above 0, got 0 at row 0"),
        ({"reversed": [0.0, 1, None, 1]}, "reversed: expected 0 or 1, got null at row 2"),
    ],
)
def test_bad_rows_are_refused_with_one_message(tmp_path: Path, change: Any, message: str) -> None:
    columns = {name: values for name, values in (rows() | change).items() if values is not None}
    with pytest.raises(FeedError, match=message) as found:
        read_items(write(tmp_path, columns))
    assert "items.parquet" in str(found.value)
    assert "\n" not in str(found.value)


def test_columns_of_the_callers_own_are_left_alone(tmp_path: Path) -> None:
    with_own = rows() | {"attr_note": ["x", "y", None, "z"]}
    assert read_items(write(tmp_path, with_own)).digest == read_items(write(tmp_path, rows())).digest


def test_no_rows_are_refused() -> None:
    empty: dict[str, Any] = {name: [] for name in ("viewer", "post_id", "signal")}
    empty |= {"endorsed": np.empty(0), "sampling_probability": np.empty(0)}
    with pytest.raises(FeedError, match="expected rows, got none"):
        items_from_columns(empty)


def test_the_command_writes_an_overlay_that_ranks_and_its_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = sample_columns(Survey(n_viewers=200, per_viewer=20, asked=0.6), np.random.default_rng(1))
    arrays = {
        name: pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else pa.array(values)
        for name, values in columns.items()
    }
    items, output = write(tmp_path, arrays), tmp_path / "ours.toml"
    fit_value(items, output=output, reference="comment", folds=2, date="2026-11-22")
    policy = load_policy(f"harm-aware+{output}")
    assert policy.value.sensitivity["comment"] == 1.0
    evidence = json.loads((tmp_path / "ours.json").read_text())
    assert evidence["data"]["n_viewers"] == 200
    said = capsys.readouterr().out
    assert "endorsed.comment" in said
    assert "of its total is not endorsed" in said


def test_bad_input_to_the_command_writes_nothing(tmp_path: Path) -> None:
    items = write(tmp_path, rows())
    with pytest.raises(FeedError, match="at least 50 viewers, got 3"):
        fit_value(items, output=tmp_path / "ours.toml")
    with pytest.raises(FeedError, match=r"ends in \.toml"):
        fit_value(items, output=tmp_path / "ours.json")
    with pytest.raises(PolicyError):
        fit_value(items, output=tmp_path / "ours.toml", policy="no-such-policy")
    assert {path.name for path in tmp_path.iterdir()} == {"items.parquet"}


def test_the_sample_that_is_written_is_one_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    main(["-o", str(path), "--viewers", "60", "--seed", "3"])
    drawn = items_from_columns(sample_columns(Survey(n_viewers=60), np.random.default_rng(3)))
    found = read_items(path)
    assert found.n == drawn.n
    np.testing.assert_array_equal(found.endorsed, drawn.endorsed)
    with pytest.raises(SystemExit):
        main(["-o", str(tmp_path / "items.csv")])
