"""Labels of people: read as they are written, refused where they contradict themselves."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.audit_labels import krippendorff_alpha, read_labels
from reranker.columns import FeedError

HEAD = "item,harm,y,sampling_prob,rater\n"


def written(path: Path, rows: str, head: str = HEAD) -> Path:
    path.write_text(head + rows)
    return path


def test_raters_of_an_item_are_averaged_and_ids_stay_texts(tmp_path: Path) -> None:
    rows = "007,toxicity,1,0.5,ann\n007,toxicity,0,0.5,ben\n8,toxicity,1,0.25,ann\n8,spam,0,1,ann\n"
    found = read_labels(written(tmp_path / "labels.csv", rows))
    assert found.name == "labels.csv"
    assert tuple(found.samples) == ("spam", "toxicity")
    toxicity = found.samples["toxicity"]
    assert toxicity.item == ("007", "8")
    assert toxicity.label.tolist() == [0.5, 1.0]
    assert toxicity.inclusion.tolist() == [0.5, 0.25]
    assert (toxicity.n_labels, toxicity.n_raters, toxicity.n_twice, toxicity.is_frame) == (2, 2, 1, False)


def test_a_row_without_a_label_makes_the_file_the_list_of_what_could_be_drawn(tmp_path: Path) -> None:
    rows = "a,toxicity,1,0.5,x\nb,toxicity,,0.1,\nc,spam,0,0.5,x\n"
    found = read_labels(written(tmp_path / "l.csv", rows)).samples
    assert found["toxicity"].is_frame
    assert np.isnan(found["toxicity"].label[1])
    assert found["toxicity"].n_labels == 1
    assert not found["spam"].is_frame


def test_a_table_in_parquet_is_the_same_labels_whatever_the_order_and_without_raters(tmp_path: Path) -> None:
    columns = {"item": [3, 1, 2], "harm": ["h"] * 3, "y": [1, 0, 1], "sampling_prob": [0.5, 0.25, 1.0]}
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    rows = "1,h,0,0.25\n2,h,1.0,1\n3,h,1,0.50\n"
    first = read_labels(tmp_path / "l.parquet")
    second = read_labels(written(tmp_path / "l.csv", rows, "item,harm,y,sampling_prob\n"))
    assert first.digest == second.digest
    assert first.samples["h"].n_raters == 0
    other = written(tmp_path / "m.csv", "1,h,1,0.25\n2,h,1,1\n3,h,1,0.5\n", "item,harm,y,sampling_prob\n")
    assert read_labels(other).digest != first.digest


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,h,1,0.5,x\nb,h,maybe,0.5,x\n", "y: expected a number, got 'maybe' at row 2"),
        ("a,h,2,0.5,x\n", r"y: expected a number in \[0, 1\], or nothing, got 2 at row 1"),
        ("a,h,1,0,x\n", r"sampling_prob: expected a number in \(0, 1\], got 0 at row 1"),
        ("a,h,1,1.5,x\n", r"sampling_prob: expected a number in \(0, 1\], got 1.5 at row 1"),
        ("a,h,1,,x\n", "sampling_prob: expected a value, got none at row 1"),
        ("a,h,1,nan,x\n", "sampling_prob: expected a finite number, got 'nan' at row 1"),
        (",h,1,0.5,x\n", "item: expected a value, got none at row 1"),
        ("a,h,1,0.5,x\na,h,0,0.5,x\n", "expected each rater once per item and harm, got 'a' again by x"),
        (
            "a,h,1,0.5,x\na,h,0,0.25,y\n",
            "sampling_prob: expected one per item and harm, got 0.25 and 0.5 for a",
        ),
    ],
)
def test_what_contradicts_itself_is_one_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(FeedError, match=message):
        read_labels(written(tmp_path / "labels.csv", rows))


def test_what_is_no_table_of_labels_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"expected columns item, harm, y, sampling_prob, got none named y"):
        read_labels(written(tmp_path / "l.csv", "a,h,1\n", "item,harm,sampling_prob\n"))
    with pytest.raises(FeedError, match=r"expected \.csv or \.parquet, got \.txt"):
        read_labels(written(tmp_path / "l.txt", ""))
    with pytest.raises(FeedError, match="expected a table, got"):
        read_labels(tmp_path / "nowhere.csv")


def test_agreement_meets_the_published_example() -> None:
    # ten units, two observers: alpha = 0.095 (Krippendorff, Computing Krippendorff's alpha-reliability, 2011)
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = krippendorff_alpha(np.tile(np.arange(10), 2), np.array([*first, *second], dtype=float))
    assert found == pytest.approx(0.095, abs=5e-4)


def test_agreement_by_brute_force_over_all_pairs_of_ratings() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        unit, value = rng.integers(0, 8, 25), rng.integers(0, 2, 25).astype(float)
        held = [np.flatnonzero(unit == u) for u in range(8) if (unit == u).sum() > 1]
        every = np.concatenate(held)
        n = len(every)
        within = sum(
            (value[i] - value[j]) ** 2 / (len(of) - 1) for of in held for i in of for j in of if i != j
        )
        apart = sum((value[i] - value[j]) ** 2 for i in every for j in every) / (n - 1)
        assert krippendorff_alpha(unit, value) == pytest.approx(1 - within / apart)


def test_agreement_of_nobody_or_of_equal_labels_is_not_told() -> None:
    assert krippendorff_alpha(np.arange(3), np.ones(3)) is None
    assert krippendorff_alpha(np.zeros(4, int), np.ones(4)) is None
