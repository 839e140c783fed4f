"""Toxic replies foreseen: recovery of a known response, an honest no where there is none, and files."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import special, stats

from models.scores import HarmScores
from reranker.assembly import feed_from_columns
from reranker.columns import FeedError
from reranker.results import harms_to_arrow, read_harms
from training.elicited import main
from training.elicited_files import foresee_comments, read_threads, write_elicited
from training.elicited_model import Threads, fit_elicited, foresee
from training.metrics import auroc, auroc_error

LABELS = ("toxicity", "civic", "humor")


def draw(n_threads: int, slopes: tuple[float, float, float], seed: int, per_thread: int = 4) -> Threads:
    """Replies whose log-odds of being toxic rise by `slopes` in the log-odds of the post's labels."""
    rng = np.random.default_rng(seed)
    post = rng.normal(-1.5, 1.2, (n_threads, 3))
    thread = np.repeat(np.arange(n_threads), per_thread)
    mood = rng.normal(0, 0.5, n_threads)[thread]
    p = special.expit(-0.5 + post[thread] @ np.array(slopes) + mood)
    return Threads(LABELS, post[thread], (rng.random(len(p)) < p).astype(float), thread)


def test_a_known_response_is_recovered_and_beats_the_posts_own_toxicity() -> None:
    threads = draw(1500, (0.8, 1.0, 0.0), 1)
    model, found = fit_elicited(threads, n_folds=3), foresee(threads, n_folds=3)
    assert model.coefficients == pytest.approx([0.8, 1.0, 0.0], abs=0.12)
    assert found.is_useful
    assert found.beats_own
    assert found.auroc_gain.low > 0
    assert found.rate_of_top.low > found.rate
    assert found.calibration_error < 0.03
    assert found.slope is not None
    assert found.slope.low < 1 < found.slope.high


def test_labels_that_add_nothing_are_said_to_add_nothing() -> None:
    found = foresee(draw(800, (0.8, 0.0, 0.0), 2), n_folds=3)
    assert found.is_useful
    assert not found.beats_own
    assert abs(found.auroc_gain.value) < 0.01


def test_replies_that_nothing_foretells_are_not_foreseen() -> None:
    found = foresee(draw(400, (0.0, 0.0, 0.0), 3), n_folds=3)
    assert not found.is_useful
    assert found.auroc.low < 0.5


def test_the_error_of_the_auroc_is_that_of_delong_where_threads_are_single_replies() -> None:
    threads = draw(600, (0.8, 0.0, 0.0), 4, per_thread=1)
    found = foresee(threads, n_folds=3)
    score = threads.log_odds[:, 0]
    assert found.auroc_own.value == pytest.approx(auroc(score, threads.toxic > 0))
    half = found.auroc_own.high - found.auroc_own.value
    error = auroc_error(score, threads.toxic > 0) * stats.t.ppf(0.975, 599)
    assert half == pytest.approx(error, rel=0.01)


def test_replies_of_one_thread_widen_the_interval() -> None:
    """Each reply twice is no more evidence than once."""
    once = draw(300, (0.8, 0.0, 0.0), 5, per_thread=1)
    twice = Threads(
        LABELS, np.repeat(once.log_odds, 2, axis=0), np.repeat(once.toxic, 2), np.repeat(once.thread, 2)
    )
    first, second = foresee(once, n_folds=3).auroc_own, foresee(twice, n_folds=3).auroc_own
    assert (second.low, second.high) == pytest.approx((first.low, first.high), rel=1e-9)


@pytest.mark.parametrize(
    ("threads", "message"),
    [
        (draw(40, (0.8, 0.0, 0.0), 1), "thread: expected at least 50 .*, got 40"),
        (Threads(LABELS, np.zeros((90, 3)), np.zeros(90), np.arange(90)), "at least 20 replies from 0.5 on"),
    ],
)
def test_too_little_to_learn_from_is_refused(threads: Threads, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_elicited(threads)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_folds": 1}, "folds: expected 2 to 50, got 1"),
        ({"n_folds": 100_000}, "folds: expected 2 to 50, got 100000"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        foresee(draw(60, (1.0, 0.0, 0.0), 1), **options)


def columns_of(threads: Threads) -> dict[str, Any]:
    p = special.expit(threads.log_odds)
    return {
        "post_id": [f"t{i}" for i in threads.thread],
        "reply_toxicity": threads.toxic * 0.8 + 0.1,
        **{name: p[:, i] for i, name in enumerate(LABELS)},
    }


def write(folder: Path, columns: dict[str, Any]) -> Path:
    path = folder / "threads.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    columns = columns_of(draw(120, (0.8, 0.0, 0.0), 6))
    order = np.random.default_rng(0).permutation(480)
    turned = {k: np.array(v)[order] for k, v in columns.items()}
    first, second = (read_threads(write(tmp_path, one)) for one in (columns, turned))
    assert foresee(first, n_folds=2) == foresee(second, n_folds=2)


def test_replies_to_posts_that_are_not_scored_are_left_out_and_counted(tmp_path: Path) -> None:
    columns = columns_of(draw(120, (0.8, 0.0, 0.0), 6))
    columns["civic"][:8] = np.nan
    columns = {k: pa.array(v, from_pandas=True) for k, v in columns.items()}
    threads = read_threads(write(tmp_path, columns))
    assert threads.n_unscored == 8
    assert len(threads.toxic) == 472
    assert threads.labels == ("toxicity", "humor", "civic")  # in the taxonomy's order


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reply_toxicity": None}, "reply_toxicity: expected a column"),
        ({"reply_toxicity": [2.0, 0.0]}, r"reply_toxicity: expected a number in \[0, 1\], got 2.0 at row 0"),
        ({"toxicity": None, "humor": [0.1, 0.2]}, "labels: expected toxicity among them, got humor"),
        ({"toxcity": [0.1, 0.2]}, 'unknown column "toxcity".*did you mean "toxicity"'),
        ({"post_id": ["a", None]}, "post_id, thread: expected a value in every row, got null"),
    ],
)
def test_bad_threads_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    given = {"post_id": ["a", "b"], "reply_toxicity": [0.1, 0.9], "toxicity": [0.2, 0.3]} | change
    path = write(tmp_path, {name: values for name, values in given.items() if values is not None})
    with pytest.raises(FeedError, match=message):
        read_threads(path)


def scores_of(tmp_path: Path) -> Path:
    values = np.array([[0.9, 0.5, 0.1], [0.1, 0.5, 0.1], [np.nan] * 3], dtype=np.float32)
    scores = HarmScores(LABELS, values, np.where(np.isnan(values), np.nan, 1.0), "test")
    path = tmp_path / "scores.parquet"
    table = harms_to_arrow({"post_id": ["a", "b", "c"]}, scores, np.array([np.nan, 0.3, np.nan]))
    pq.write_table(table, path)
    return path


def test_the_foreseen_tone_reaches_the_ranker_and_never_replaces_what_was_measured(tmp_path: Path) -> None:
    threads = draw(600, (0.8, 0.5, 0.0), 7)
    model = fit_elicited(threads, n_folds=3)
    path, filled = tmp_path / "model.json", tmp_path / "filled.parquet"
    write_elicited(model, foresee(threads, n_folds=3), path)
    assert foresee_comments(path, scores_of(tmp_path), filled) == (1, 1)
    feed = feed_from_columns({"request_id": ["r"] * 3, "post_id": ["a", "b", "c"]})
    tone = read_harms(feed, filled).comment_toxicity
    expected = model.p(special.logit(np.array([[0.9, 0.5, 0.1]], dtype=np.float32).astype(float)))[0]
    assert tone[0] == pytest.approx(expected, rel=1e-6)
    assert tone[1] == 0.3
    assert np.isnan(tone[2])
    assert pq.read_table(filled)["comment_toxicity_foreseen"].to_pylist() == [True, False, False]
    with pytest.raises(FeedError, match="got filled ones"):
        foresee_comments(path, filled, tmp_path / "again.parquet")


def test_a_model_that_foresees_nothing_is_not_applied(tmp_path: Path) -> None:
    threads = draw(400, (0.0, 0.0, 0.0), 3)
    path, filled = tmp_path / "model.json", tmp_path / "filled.parquet"
    write_elicited(fit_elicited(threads, n_folds=3), foresee(threads, n_folds=3), path)
    assert json.loads(path.read_text())["is_useful"] is False
    with pytest.raises(FeedError, match="expected a model that beats one rate"):
        foresee_comments(path, scores_of(tmp_path), filled)
    assert not filled.exists()


@pytest.mark.parametrize("content", ["{}", "[]", "x", '{"schema": 9}'])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(content)
    with pytest.raises(FeedError, match="expected"):
        foresee_comments(path, scores_of(tmp_path), tmp_path / "filled.parquet")


def test_the_command_fits_and_applies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = write(tmp_path, columns_of(draw(300, (0.8, 0.0, 0.0), 8)))
    model, filled = tmp_path / "model.json", tmp_path / "filled.parquet"
    arguments = ["elicited", "fit", str(threads), "-o", str(model), "--folds", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    first = model.read_bytes()
    main()
    assert model.read_bytes() == first
    assert "AUROC on unseen threads" in capsys.readouterr().out
    monkeypatch.setattr(
        sys, "argv", ["elicited", "apply", str(model), str(scores_of(tmp_path)), "-o", str(filled)]
    )
    main()
    assert capsys.readouterr().out == "1 posts with a foreseen tone, 1 without any\n"


@pytest.mark.parametrize("command", [["fit", "threads.parquet"], ["apply", "model.json", "scores.parquet"]])
def test_a_directory_in_the_place_of_the_result_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["elicited", *command, "-o", str(tmp_path)])
    with pytest.raises(FeedError, match="expected a file or nothing of that name, got a directory"):
        main()
    assert not list(tmp_path.iterdir())
