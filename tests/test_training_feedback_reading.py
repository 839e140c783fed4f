"""training.feedback_reading: files of experiments, and what is refused before anything is fitted."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from training.feedback import fit_feedback
from training.feedback_experiment import doses_of
from training.feedback_reading import feedback_from_arrow, read_feedback
from training.feedback_synthetic import (
    SyntheticDesign,
    feedback_to_arrow,
    main,
    synthetic_feedback,
    usual_design,
)

N = 120


def columns(**changes):
    """120 authors in a control and arms that boost likes and comments; None drops a column."""
    arm = np.array(["control", "like:10", "comment:2"])[np.arange(N) % 3]
    made = {
        "author": [f"a{i}" for i in range(N)],
        "arm": arm,
        "posts": np.arange(N) % 5,
        "received_like": 3 + 10 * (arm == "like:10") + np.arange(N) % 2,
        "received_comment": 1 + 2 * (arm == "comment:2") + np.arange(N) % 4,
    }
    return {name: values for name, values in (made | changes).items() if values is not None}


def changed(name, value, row=17):
    """That column of `columns()` with another value in one row."""
    values = list(columns()[name])
    values[row] = value
    return {name: values}


def fitted(**changes):
    return fit_feedback(feedback_from_arrow(pa.table(columns(**changes))))


def test_arms_may_be_named_by_what_they_boost():
    found = feedback_from_arrow(pa.table(columns()))
    assert found.arm_names == ("control", "like:10", "comment:2")
    assert found.boosted == ("like", "comment")
    assert found.assigned[:, :3].tolist() == [[0, 10, 0], [0, 0, 2]]
    assert found.by_author
    assert doses_of("like:2 + comment") == {"like": 2.0, "comment": 1.0}


def test_arms_of_any_name_have_their_doses_in_columns():
    doses = {"assigned_like": [0, 3, 0] * 40, "assigned_comment": [0, 0, 1] * 40, "assigned_love": [0] * N}
    named = feedback_from_arrow(pa.table(columns(arm=["A", "B", "C"] * 40, **doses)))
    assert named.arm_names == ("A", "B", "C")
    assert named.arm_names[named.control] == "A"
    assert named.boosted == ("like", "comment")
    unnamed = feedback_from_arrow(pa.table(columns(arm=None, **doses)))
    assert sorted(unnamed.arm_names) == ["comment:1", "control", "like:3"]
    assert (np.array(unnamed.arm_names)[unnamed.arm[:3]]).tolist() == ["control", "like:3", "comment:1"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_kind_of_file_holds_the_same_experiment(tmp_path, suffix):
    experiment = synthetic_feedback(SyntheticDesign(n_authors=300), np.random.default_rng(1))
    experiment.before["posts"][5] = np.nan
    table = feedback_to_arrow(experiment)
    path = tmp_path / f"experiment{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path)
    elif suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    found = read_feedback(path)
    assert np.isnan(found.before["posts"][5])
    assert found.digest() == feedback_from_arrow(table).digest()
    assert found.posts.tolist() == experiment.posts.tolist()
    assert found.places["country"].to_list() == experiment.places["country"].to_list()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (changed("posts", -1), "posts: expected a finite count, 0 or more, got -1.0 at row 17"),
        (
            changed("received_like", -2),
            "received_like: expected a finite count, 0 or more, got -2.0 at row 17",
        ),
        (changed("received_like", np.nan), "received_like: expected a finite count, 0 or more, got nan at"),
        (changed("posts", np.inf), "posts: expected a finite count, 0 or more, got inf at row 17"),
        (changed("posts", None), "posts: expected a value in every row, got null at row 17"),
        (changed("author", None), "author: expected a value in every row, got null at row 17"),
        (changed("arm", None), "arm: expected a value in every row, got null at row 17"),
        (changed("arm", "likes"), 'arm: expected "control" or SIGNAL:DOSE joined by +'),
        (changed("arm", "like:x"), "arm: expected a number after the colon, got 'like:x'"),
        (changed("arm", "like:-1"), "arm: expected a dose above 0, got 'like:-1'"),
        (changed("arm", "like:7"), "arm like:7: expected at least 10 authors, got 1"),
        ({"posts": None}, "posts: expected a column of that name, got author, arm"),
        ({"author": None}, "author: expected a column of that name, got arm, posts"),
        ({"arm": None}, "arm: expected that column or columns assigned_SIGNAL, got neither"),
        ({"received_like": None}, "received_like: expected that column, as an arm boosts like, got none"),
        ({"received_like": None, "received_comment": None}, "received_SIGNAL: expected at least one column"),
        ({"received_like": [0] * N}, "received_like: expected some feedback in some row, got 0 in all"),
        ({"posts": [0] * N}, "posts: expected some posts in some row, got 0 in all"),
        ({"posts": ["x"] * N}, "posts: expected numbers, got a column of string"),
        ({"received_likes": [1] * N}, 'received_likes: unknown signal "likes"; did you mean "like"'),
        ({"before_fame": [1] * N}, 'before_fame: expected before_posts or a signal, got "fame"'),
        ({"followers": [1] * N}, 'unknown column "followers"'),
        (
            {"arm": ["control"] * N},
            "arm: expected a control and at least one arm with extra feedback, got control",
        ),
        ({"arm": ["control", "comment:2"] * 60}, "assigned_like: expected an arm that boosts likes"),
        (
            {"arm": ["control", "like:2"] * 60},
            "assigned: expected an arm that boosts another signal than likes",
        ),
        (
            {"arm": ["like:1", "like:2", "comment:1"] * 40},
            "arm: expected a control, an arm that was assigned",
        ),
        ({"arm": ["control", "like:1+comment:1"] * 60}, "expected arms that tell like and comment apart"),
        (
            {"received_comment": columns()["received_like"] * 2},
            "received: expected like and comment to differ, got them always in proportion",
        ),
        ({"received_like": [3] * N}, "received_like: expected feedback that differs between rows, got one"),
        ({"author": [f"a{i % 40}" for i in range(N)]}, "author: expected at least 50 authors, got 40"),
        (
            {"arm": None, "assigned_like": np.arange(N), "assigned_comment": np.arange(N) % 7},
            "arm .*: expected at least 10 authors, got 1",
        ),
        (
            {"country": ["A", "B", "C"] * 40},
            "assigned_like: expected doses that differ within countries and periods, got none",
        ),
    ],
)
def test_what_cannot_be_fitted_is_told_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as told:
        fitted(**changes)
    assert "\n" not in str(told.value)


def test_the_message_names_the_file(tmp_path):
    path = tmp_path / "experiment.csv"
    pyarrow.csv.write_csv(pa.table(columns(**changed("posts", -1))), path)
    with pytest.raises(ValueError, match=r"experiment\.csv: posts: expected a finite count"):
        read_feedback(path)
    with pytest.raises(ValueError, match=r"none\.csv: expected a file, found none"):
        read_feedback(tmp_path / "none.csv")


def test_a_design_that_boosts_what_it_does_not_describe_is_refused():
    with pytest.raises(ValueError, match=r"doses\.angry: expected an effect and a usual amount beside it"):
        synthetic_feedback(SyntheticDesign(doses={"angry": 2.0}), np.random.default_rng(1))


def test_a_simulated_experiment_can_be_written_by_a_command(tmp_path, monkeypatch, capsys):
    path = tmp_path / "experiment.parquet"
    monkeypatch.setattr("sys.argv", ["feedback_synthetic", str(path), "--authors", "200", "--seed", "3"])
    main()
    assert "true weights: like 1, love 2, comment 10, reshare 5" in capsys.readouterr().out
    expected = synthetic_feedback(usual_design("linear", 200), np.random.default_rng(3))
    assert read_feedback(path).posts.tolist() == expected.posts.tolist()
