"""`reranker audit`: what a log holds, lacks and supports, posts drawn to be labelled, and an example."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.scores import HarmScores
from reranker.cli import main
from reranker.columns import StringColumn
from reranker.exploration import log_prefix_propensity
from reranker.impression_files import write_impressions
from reranker.impressions import ImpressionLog
from reranker.log_summary import recomputed_agreement, summarise, supported
from reranker.results import write_harms
from reranker.sample import make_sample
from reranker.value import Harms
from reranker.writing import write_feed
from tests.logs import log_columns, log_of


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as found:
        main(arguments)
    return int(found.value.code or 0)


def answers(log: ImpressionLog) -> dict[str, tuple[bool, str]]:
    return {one.estimator.split(",")[0]: (one.supported, one.why) for one in supported(summarise([log]))}


def test_a_whole_log_supports_every_estimator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harm = {"toxicity": np.zeros(log_of(30).n_candidates)}
    write_impressions([log_of(30, harm=harm)], tmp_path / "log.parquet")
    assert run(["audit", "validate", str(tmp_path / "log.parquet"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["requests"] == 30
    assert found["counts"]["users"] == 15
    assert found["counts"]["propensities recomputed"] == found["counts"]["slots"]
    assert found["counts"]["of these disagreeing"] == 0
    assert found["missing"] == []
    assert [one["supported"] for one in found["estimators"]] == [True] * 6


def test_the_table_says_what_is_missing_and_why_an_estimator_is_not_supported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = log_columns(30, viewed=None, temperature=None)
    columns["log_prefix_propensity"] = np.zeros_like(columns["log_prefix_propensity"])
    write_impressions([ImpressionLog(**columns)], tmp_path / "log.parquet")
    assert run(["audit", "validate", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "missing: viewed: without views, exposure rests on a model of browsing alone" in out
    assert "missing: harm.toxicity: not scored in" in out
    assert (
        "no  SIPS, RIPS, SNIPS, DR, Switch-DR, DRos (no slate was drawn: the logger is deterministic)" in out
    )
    assert "no  prevalence as served (no views logged)" in out
    assert "yes  direct method (model only)" in out


def test_bad_logs_exit_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(path: Path) -> str:
        assert run(["audit", "validate", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    assert "expected a file, found none" in refused(tmp_path / "none.parquet")
    write_impressions([log_of(4)], tmp_path / "a.parquet")
    write_impressions([log_of(2, first=4), log_of(1)], tmp_path / "b.parquet")
    message = refused(tmp_path)
    assert "request_id: expected each request once, got the id of request 0 again at request 6" in message
    write_impressions([log_of(0)], tmp_path / "a.parquet")
    assert "a.parquet: expected requests, got none" in refused(tmp_path / "a.parquet")


def test_propensities_of_another_temperature_are_found_out() -> None:
    """A logger that says 0.5 and draws at 0.6: the effective sample size would look perfect."""
    right = log_of(40)
    assert recomputed_agreement(right).all()
    assert len(recomputed_agreement(right)) == right.n_slots
    columns = log_columns(40)
    other = log_prefix_propensity(
        columns["score"], columns["offsets"], columns["slate"], columns["slot_offsets"], 0.6
    )
    wrong = ImpressionLog(**(columns | {"log_prefix_propensity": other}))
    found, why = answers(wrong)["SIPS"]
    assert not found
    assert "propensities are not those of the scores at the logged temperature" in why


def test_floored_propensities_are_found_out() -> None:
    columns = log_columns(60)
    floored = np.maximum(columns["log_prefix_propensity"], np.log(0.02))
    agrees = recomputed_agreement(ImpressionLog(**(columns | {"log_prefix_propensity": floored})))
    assert (~agrees).sum() == (columns["log_prefix_propensity"] < np.log(0.02)).sum() > 0


def test_only_what_was_wholly_logged_is_recomputed() -> None:
    columns = log_columns(10)
    n = np.diff(columns["slot_offsets"])
    assert len(recomputed_agreement(ImpressionLog(**(columns | {"temperature": None})))) == 0
    cut_short = columns["n_total"] + (np.arange(10) == 3)
    found = recomputed_agreement(ImpressionLog(**(columns | {"n_total": cut_short})))
    assert len(found) == n.sum() - n[3]
    score = columns["score"].copy()
    score[columns["offsets"][3]] = np.nan
    assert len(recomputed_agreement(ImpressionLog(**(columns | {"score": score})))) == n.sum() - n[3]


def test_each_lack_takes_away_what_needs_it() -> None:
    def lacking(**changes: Any) -> set[str]:
        found = answers(ImpressionLog(**(log_columns(20) | changes)))
        return {name for name, (is_supported, _) in found.items() if not is_supported}

    assert lacking() == set()
    assert lacking(viewed=None) == {"prevalence as served"}
    assert lacking(viewed=None, action={}) == {
        "prevalence as served",
        "direct method (model only)",
        "SIPS",
        "IIPS",
    }
    assert lacking(harm={}) == {"prevalence as served", "exposure under another policy (L0)"}
    assert lacking(p_action={}) == {"exposure under another policy (L0)", "direct method (model only)"}
    assert lacking(temperature=None) == {"IIPS"}
    slots = log_columns(20)["log_prefix_propensity"]
    assert lacking(log_prefix_propensity=np.full_like(slots, np.nan)) == {"SIPS", "IIPS"}
    assert lacking(user=StringColumn.from_values(["u"] * 20)) == {"intervals"}
    assert lacking(n_total=log_columns(20)["n_total"] + 1) == set()
    truncated = answers(ImpressionLog(**(log_columns(20) | {"n_total": log_columns(20)["n_total"] + 1})))
    assert truncated["SIPS"] == (True, "20 requests have candidates that were not logged: as bounds")


def test_batches_in_any_cut_give_one_summary() -> None:
    whole = log_of(20)
    parts = [whole.take(np.arange(start, min(start + 3, 20))) for start in range(0, 20, 3)]
    first, second = summarise([whole]), summarise(parts)
    assert first.users.tolist() == second.users.tolist()
    assert {k: v for k, v in vars(first).items() if k != "users"} == {
        k: v for k, v in vars(second).items() if k != "users"
    }


def test_what_one_batch_lacks_the_log_lacks() -> None:
    found = summarise([log_of(3), log_of(3, first=3, viewed=None)])
    assert not found.has_views


@pytest.fixture(scope="module")
def scored_feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feed and a classifier's scores of it that miss half of what is toxic."""
    folder = tmp_path_factory.mktemp("feeds")
    feed = make_sample(1, n_users=60, n_posts=400, n_requests=120)
    toxic = feed.attributes["is_toxic"]
    missed = np.arange(feed.n) % 2 == 0
    p = np.where((toxic > 0) & ~missed, 0.9, 0.02).astype(np.float32)[:, None]
    write_feed(feed, folder / "feeds.parquet", interactions=folder / "acts.parquet")
    scores = HarmScores(("toxicity",), p, np.ones_like(p), "m1")
    write_harms(feed, Harms(scores, np.full(feed.n, np.nan)), folder / "scores.parquet")
    return folder


def test_a_drawn_sample_once_labelled_corrects_a_comparison(
    scored_feed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed = make_sample(1, n_users=60, n_posts=400, n_requests=120)
    truth = dict(zip(feed.post_id.to_list(), feed.attributes["is_toxic"].tolist(), strict=True))
    given = [str(scored_feed / "feeds.parquet"), "--scores", str(scored_feed / "scores.parquet")]
    given += ["--original", "fb-2018-h1", "--treatment", "harm-aware"]
    sheet = tmp_path / "to_label.csv"
    assert run(["audit", "sample", *given, "-o", str(sheet), "--n", "150", "--harm", "toxicity"]) == 0
    assert "posts to label" in capsys.readouterr().out
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 110 < len(rows) < 190
    for row in rows:
        row["y"] = f"{truth[row['item']]:g}"
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    options = ["--audit-labels", str(sheet), "--truth", "is_toxic", "-o", str(tmp_path / "out")]
    assert run(["compare", *given, *options]) == 0
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    known = {
        row["browsing"]: row["absolute"]
        for row in found["rows"]
        if (row["metric"], row["measure"]) == ("is_toxic", "per 1,000 views")
    }
    corrected = [row for row in found["audits"] if row["method"] == "prediction-powered"]
    assert len(corrected) == len(known) == 3
    for row in corrected:
        assert row["change"]["low"] <= known[row["browsing"]] <= row["change"]["high"]
    assert corrected[0]["n_labels"] == len(rows)


def test_a_sample_that_cannot_be_drawn_is_one_line(
    scored_feed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(scored_feed / "feeds.parquet"), "--scores", str(scored_feed / "scores.parquet")]

    def refused(*options: str) -> str:
        assert run(["audit", "sample", *given, *options]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert not (tmp_path / "l.csv").exists()
        return captured.err

    output = ("-o", str(tmp_path / "l.csv"))
    assert "ends in .csv" in refused("-o", str(tmp_path / "l.txt"))
    assert "got 'toxic'; did you mean \"toxicity\"" in refused(*output, "--harm", "toxic")
    same = ("--original", "uniform", "--treatment", "uniform")
    assert "show differently, got none" in refused(*output, *same)
    assert "at most" in refused(*output, "--n", "100000")


def test_the_example_log_is_whole_and_its_true_difference_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "logs.parquet"
    assert run(["audit", "example", "-o", str(logs), "--users", "1500"]) == 0
    told = capsys.readouterr().out
    true = float(next(line for line in told.splitlines() if "any harm in what is viewed" in line).split()[-2])
    commands = [line.split()[1:] for line in told.splitlines() if line.startswith("  reranker audit")]
    assert [command[1] for command in commands] == ["validate", "compare"]
    assert run(commands[0]) == 0
    assert "missing: score" not in capsys.readouterr().out
    commands[1][-1] = str(tmp_path / "result")
    assert run(commands[1]) == 0
    found = json.loads((tmp_path / "result" / "logged.json").read_text())
    row = next(r for r in found["rows"] if (r["metric"], r["level"]) == ("harm_views.any_harm", "L1"))
    assert row["status"] == "IDENTIFIED"
    assert row["interval"][0] <= true <= row["interval"][1]
    assert run(["audit", "example", "-o", str(tmp_path / "logs.txt")]) == 2
