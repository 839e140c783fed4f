"""`reranker audit compare`: a table and a file for a log that can say, one line for what is no log."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from eval.margins import load_margins
from eval.simulate.impressions import LABEL, impression_log
from eval.simulate.testbed import WEIGHTS, logged
from reranker.cli import main
from reranker.columns import StringColumn
from reranker.impression_files import write_impressions
from reranker.impressions import ImpressionLog
from reranker.reading import read_feed
from reranker.sample import make_sample
from reranker.terminal import console
from reranker.writing import write_feed

NOW = ",".join(f"{name}={weight:g}" for name, weight in WEIGHTS.items())
ZERO = NOW.replace("angry=5", "angry=0")


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as found:
        main(arguments)
    return int(found.value.code or 0)


def small_log() -> ImpressionLog:
    log = impression_log(logged(1_300, 2, 0.8, 4))
    return dataclasses.replace(log, action={"like": log.action["like"]})


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files, as a product writes them: predictions of single precision."""
    folder = tmp_path_factory.mktemp("logs")
    log = small_log()
    write_impressions([log.take(np.arange(1_000))], folder / "a.parquet")
    write_impressions([log.take(np.arange(1_000, log.n))], folder / "b.parquet")
    return folder


def compare(logs: Path, output: Path, *options: str, original: str = NOW, treatment: str = ZERO) -> int:
    policies = ["--original", original, "--treatment", treatment]
    return run(["audit", "compare", str(logs), *policies, "--scale", "log", "-o", str(output), *options])


def test_a_comparison_prints_a_table_and_writes_a_file(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, console.width = console.width, 200
    assert compare(logs, tmp_path / "out", "--planned-margins", load_margins().digest) == 0
    console.width = before
    out = capsys.readouterr().out
    assert "2,600 requests of 1,300 users identify what" in out
    assert "posts viewed per request" in out
    assert "were not fixed in a plan" not in out
    found = json.loads((tmp_path / "out" / "logged.json").read_text())
    assert (found["schema"], found["status"], found["served_by"]) == (1, "IDENTIFIED", "original")
    rows = {(row["metric"], row["level"]): row for row in found["rows"]}
    harm = rows["harm_views.any_harm", "L1"]
    assert harm["interval"][1] < 0
    assert harm["status"] == "IDENTIFIED"
    assert harm["config_digest"] == found["digest"]
    assert rows["harm_prevalence.any_harm", "L0"]["estimate"]["value"] < 0
    needed = {"metric", "level", "policy", "baseline", "method", "status", "n_requests", "n_users"}
    assert all(needed <= set(row) for row in found["rows"])
    decision = rows["positive_activity", "L1"]["decision"]
    assert ("unaffected" in out) == (decision == "EQUIVALENT")


def test_one_policy_twice_is_exactly_nothing(logs: Path, tmp_path: Path) -> None:
    assert compare(logs, tmp_path / "out", original="logger", treatment=NOW) == 0
    found = json.loads((tmp_path / "out" / "logged.json").read_text())
    assert (found["status"], found["served_by"]) == ("IDENTIFIED", "both")
    assert {row["status"] for row in found["rows"]} == {"IDENTIFIED"}
    assert {row["estimate"]["value"] for row in found["rows"]} == {0.0}
    assert {tuple(row["interval"]) for row in found["rows"]} == {(0.0, 0.0)}


def test_a_log_that_cannot_say_is_told_so_with_what_would_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = small_log()
    blind = dataclasses.replace(
        log, log_prefix_propensity=np.full(log.n_slots, np.nan), viewed=None, p_action=dict(log.p_action)
    )
    write_impressions([blind], tmp_path / "log.parquet")
    assert compare(tmp_path / "log.parquet", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "cannot say what" in out
    assert "What would mend it: log the propensity of every prefix" in " ".join(out.split())
    found = json.loads((tmp_path / "out" / "logged.json").read_text())
    assert found["reasons"] == ["PROPENSITY_MISSING"]
    assert {row["status"] for row in found["rows"]} == {"REFUSED"}
    assert all(row["estimate"] is row["interval"] is row["original"] is None for row in found["rows"])
    assert "unaffected" not in out


def test_what_cannot_be_compared_is_one_line(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str, original: str = NOW, treatment: str = ZERO) -> str:
        assert compare(logs, tmp_path / "out", *options, original=original, treatment=treatment) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return captured.err

    assert "relationship" in refused(treatment="fb-2018-h1")
    assert 'policy "nobody": expected a preset' in refused(treatment="nobody")
    assert "weights.likes: expected a prediction that was logged" in refused(treatment="likes=1")
    assert "--scale: expected linear or log, got 'cubic'" in refused("--scale", "cubic")
    assert "temperature: expected a finite number" in refused("--temperature", "-1")
    (tmp_path / "margins.toml").write_text("schema = 2\n")
    assert "margins.toml: schema: expected 1, got 2" in refused("--margins", str(tmp_path / "margins.toml"))


def arms(folder: Path) -> Path:
    """The log as two loggers of one policy served it, in two countries."""
    log = small_log()
    names = {"arm": ["a", "b"] * (log.n // 2), "country": ["IN", "IN", "US", "US"] * (log.n // 4)}
    segments = {name: StringColumn.from_values(values) for name, values in names.items()}
    write_impressions([dataclasses.replace(log, segments=segments)], folder / "log.parquet")
    return folder / "log.parquet"


def labels_of(path: Path, harm: str = LABEL, n: int = 600) -> Path:
    """Labels of every post of the first requests, by one rater."""
    log = small_log()
    rows = [
        f"{item},{harm},{int(p > 0.2)},1"
        for item, p in zip(log.item_id[:n], log.harm[LABEL][:n], strict=True)
    ]
    path.write_text("item,harm,y,sampling_prob\n" + "\n".join(rows) + "\n")
    return path


def test_segments_loggers_and_labels_reach_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = arms(tmp_path)
    every = labels_of(tmp_path / "labels.csv", n=small_log().n_candidates)
    mixture = ["--mixture", "arm", "--logger", f"a={NOW}", "--logger", f"b={NOW}"]
    options = [*mixture, "--audit-labels", str(every), "--segment", "country"]
    assert compare(log, tmp_path / "out", *options) == 0
    out = capsys.readouterr().out
    assert "Weighed against the mixture of 2 loggers, by arm" in out
    assert "corrected by" in out
    found = json.loads((tmp_path / "out" / "logged.json").read_text())
    assert [one["name"] for one in found["loggers"]["each"]] == ["a", "b"]
    assert {row["segment"] for row in found["segments"]["rows"]} == {"IN", "US"}
    row = found["audits"][0]
    assert row["status"] == "IDENTIFIED"
    assert row["config_digest"] == found["digest"]
    needed = {"level", "method", "policy", "baseline", "n_requests", "n_users", "change", "p_adjusted"}
    assert needed <= set(row)
    needed = {"level", "status", "interval", "n_requests", "n_users", "config_digest", "q", "alarm"}
    assert all(needed <= set(one) for one in found["segments"]["rows"])
    page = (tmp_path / "out" / "logged.html").read_text()
    for heading in ("Harm, all figures as one family", "corrected by people", "By country", "draws over"):
        assert heading in page
    assert "http" not in page.replace("http://www.w3.org", "")
    # one policy under two names: each request's own propensities say the same to the last digits
    assert compare(log, tmp_path / "own", "--segment", "country") == 0
    own = json.loads((tmp_path / "own" / "logged.json").read_text())
    values = [row["estimate"]["value"] for row in found["rows"]]
    assert values == pytest.approx([row["estimate"]["value"] for row in own["rows"]], rel=1e-6)
    assert own["digest"] != found["digest"]


def test_options_that_say_nothing_of_a_log_are_one_line(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str) -> str:
        assert compare(logs, tmp_path / "out", *options) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return captured.err

    assert "--mixture: expected with at least two --logger" in refused("--mixture", "arm")
    assert "--mixture: expected with at least two --logger" in refused("--logger", "a=score")
    assert "expected a segment that was logged (none)" in refused(
        "--mixture", "arm", "--logger", "a=score", "--logger", "b=score"
    )
    assert "segment country: expected a segment or group that was logged" in refused("--segment", "country")
    other = labels_of(tmp_path / "other.csv", "toxicity")
    assert f"expected one that is measured ({LABEL}), got toxicity" in refused("--audit-labels", str(other))
    (tmp_path / "bad.csv").write_text("item,harm,y\n")
    assert "got none named sampling_prob" in refused("--audit-labels", str(tmp_path / "bad.csv"))


def test_compare_of_feeds_reads_labels_of_posts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feeds = tmp_path / "feeds.parquet"
    acts = tmp_path / "acts.parquet"
    write_feed(make_sample(3, n_users=12, n_posts=200, n_requests=14), feeds, interactions=acts)
    posts = read_feed(feeds).post_id.present()
    rows = [f"{post},is_toxic,{i % 2},1,ann" for i, post in enumerate(posts)]
    labels = tmp_path / "labels.csv"
    labels.write_text("item,harm,y,sampling_prob,rater\n" + "\n".join(rows) + "\n")
    policies = ["--original", "fb-2018-h1", "--treatment", "fb-2018-h1", "--set-treatment", "weights.angry=0"]
    options = [*policies, "--model", "none", "--truth", "is_toxic", "--audit-labels"]
    arguments = ["compare", str(feeds), "--interactions", str(acts), *options]
    assert run([*arguments, str(labels), "-o", str(tmp_path / "out")]) == 0
    assert "corrected by" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert found["labels"]["name"] == "labels.csv"
    assert {row["metric"] for row in found["audits"]} == {"is_toxic"}
    assert "corrected by people" in (tmp_path / "out" / "report.html").read_text()
    labels.write_text("item,harm,y,sampling_prob\nnobody,is_toxic,1,1\n")
    assert run([*arguments, str(labels), "-o", str(tmp_path / "none")]) == 2
    assert "item: expected posts that are compared, got none of 1" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
