"""Answers from files: what they are read as, and one clear message for each way in which they can be bad."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reranker.columns import FeedError
from training.survey_responses import (
    check_shares,
    population,
    read_responses,
    read_shares,
    responses_from_arrow,
)

ROWS = {
    "respondent": ["b", "a", "a", "b", "a"],
    "country": ["US", "IN", "IN", "US", "IN"],
    "kind": ["love", "like", "like", "like", "love"],
    "relation": ["friend", "page", "page", "friend", "friend"],
    "answer": [5, 2, 2, 1, 3],
}


def changed(**columns):
    return pa.table({**ROWS, **columns})


def test_rows_become_counts_per_person_and_cell():
    found = responses_from_arrow(pa.table(ROWS))
    assert (found.kinds, found.relations, found.countries) == (
        ("like", "love"),
        ("friend", "page"),
        ("IN", "US"),
    )
    # (kind * 2 + relation) * 5 + answer - 1: a has (0, 1, 2) twice and (1, 0, 3), b (0, 0, 1) and (1, 0, 5)
    assert found.starts.tolist() == [0, 2, 4]
    assert found.cell.tolist() == [6, 12, 0, 14]
    assert found.count.tolist() == [2, 1, 1, 1]
    assert found.country.tolist() == [0, 1]
    assert (found.n_respondents, found.n_answers) == (2, 5)
    assert found.counts()[0].sum(axis=2).tolist() == [[0, 2], [1, 0]]


def test_the_order_of_the_rows_and_how_they_are_counted_make_no_difference():
    whole = responses_from_arrow(pa.table(ROWS))
    turned = responses_from_arrow(pa.table(ROWS).take([4, 2, 0, 3, 1]))
    assert turned.digest == whole.digest
    assert turned.cell.tolist() == whole.cell.tolist()
    counted = pa.table({name: [values[i] for i in (0, 1, 3, 4)] for name, values in ROWS.items()})
    counted = counted.append_column("count", pa.array([1, 2, 1, 1]))
    assert responses_from_arrow(counted).digest == whole.digest
    other = responses_from_arrow(changed(answer=[5, 2, 2, 1, 4]))
    assert other.digest != whole.digest


def test_a_count_of_zero_is_no_answer():
    found = responses_from_arrow(changed(count=[0, 1, 1, 0, 1]))
    assert (found.n_respondents, found.n_answers) == (1, 3)
    assert responses_from_arrow(changed(count=[1, 1, 1, 1, 1])).digest != found.digest


def test_parquet_csv_and_json_lines_are_read_alike(tmp_path):
    table = pa.table(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    lines = [json.dumps(row) for row in table.to_pylist()]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    rows = [",".join(ROWS), *(",".join(str(value) for value in row.values()) for row in table.to_pylist())]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    digests = {read_responses(tmp_path / f"a.{suffix}").digest for suffix in ("parquet", "jsonl", "csv")}
    assert digests == {responses_from_arrow(table).digest}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"kind": ["love", "like", "lke", "like", "love"]}, 'kind: unknown kind "lke".*at row 2'),
        (
            {"relation": ["friend", "page", "page", "frend", "page"]},
            'relation: unknown relation "frend".*row 3',
        ),
        ({"kind": ["love", "hide", "like", "like", "love"]}, "kind: .*got 'hide', which is a refusal"),
        ({"answer": [5, 0, 2, 1, 3]}, "answer: expected a whole number from 1 to 5, got 0 at row 1"),
        ({"answer": [5, 2, 2, 1, 6]}, "answer: expected a whole number from 1 to 5, got 6 at row 4"),
        ({"answer": [5, 2, 2, 1, 2.5]}, "answer: expected a whole number from 1 to 5, got 2.5 at row 4"),
        ({"answer": [5, 2, None, 1, 3]}, "answer: expected a number, got null at row 2"),
        ({"answer": [5.0, 2, np.nan, 1, 3]}, "answer: expected a whole number from 1 to 5, got nan at row 2"),
        ({"answer": [4, 4, 4, 4, 4]}, "answer: expected answers that differ, got 4 everywhere"),
        ({"answer": ["a", "b", "c", "d", "e"]}, "answer: expected numbers, got a column of string"),
        ({"country": ["US", "IN", "US", "US", "IN"]}, "country: expected one per respondent.* for 'a'"),
        ({"country": ["US", None, "IN", "US", "IN"]}, "country: expected a value, got null at row 1"),
        ({"count": [1, 1, -2, 1, 1]}, "count: expected a whole number from 0 to 10000, got -2 at row 2"),
        ({"count": [0, 0, 0, 0, 0]}, "count: expected one above 0, got none"),
    ],
)
def test_bad_answers_are_refused_with_column_row_and_value(columns, message):
    with pytest.raises(FeedError, match=message):
        responses_from_arrow(changed(**columns))


@pytest.mark.parametrize("column", list(ROWS))
def test_a_missing_column_is_named(column):
    with pytest.raises(FeedError, match=f"expected a column {column}, got "):
        responses_from_arrow(pa.table(ROWS).drop_columns([column]))


def test_no_row_at_all_and_a_scale_of_one_answer_are_refused():
    with pytest.raises(FeedError, match="expected answers, got none"):
        responses_from_arrow(pa.table(ROWS).slice(0, 0))
    with pytest.raises(FeedError, match="levels: expected from 2 to 20, got 1"):
        responses_from_arrow(pa.table(ROWS), n_levels=1)


def shares_in(tmp_path, text):
    path = tmp_path / "shares.csv"
    path.write_text(text)
    return path


def test_shares_are_read_and_put_in_the_order_of_the_countries(tmp_path):
    shares = read_shares(shares_in(tmp_path, "country,share\nUS,0.4\nIN,0.6\n"))
    assert population(responses_from_arrow(pa.table(ROWS)), shares).tolist() == [0.6, 0.4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("country,share\nUS,0.4\nIN,0.5\n", "share: expected shares that add up to 1, got 0.9000"),
        ("country,share\nUS,1.4\nIN,-0.4\n", "share: expected above 0 and at most 1, got 1.4 for 'US'"),
        ("country,share\nUS,1\nIN,0\n", "share: expected above 0 and at most 1, got 0 for 'IN'"),
        ("country,share\nUS,0.5\nUS,0.5\n", "country: expected each once, got 'US' twice"),
        ("country,part\nUS,1\n", "expected a column share, got country, part"),
        ("country,share\nUS,\n", "share: expected a number, got null at row 0"),
    ],
)
def test_bad_shares_are_refused(tmp_path, text, message):
    with pytest.raises(FeedError, match=message):
        read_shares(shares_in(tmp_path, text))


def test_countries_without_shares_and_shares_without_answers_are_refused():
    found = responses_from_arrow(pa.table(ROWS))
    with pytest.raises(FeedError, match="expected a share for country 'US', which answered, got none"):
        population(found, {"IN": 1.0})
    with pytest.raises(FeedError, match="expected answers from country 'BR', which has a share, got none"):
        population(found, {"IN": 0.5, "US": 0.3, "BR": 0.2})
    with pytest.raises(FeedError, match="add up to 1"):
        check_shares({})
