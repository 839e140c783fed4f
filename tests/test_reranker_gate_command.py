"""`reranker gate`: exits 0 where all holds and 1 where not; bad input is one error and leaves nothing."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from eval.launch_plan import load_plan
from reranker.columns import FeedError
from reranker.gate_command import gate
from reranker.policy import PolicyError
from reranker.terminal import console
from reranker.writing import write_feed
from tests.comparisons import swap_feed

PLAN = """
schema = 1
shown = ["1", "rbp:0.2"]
strengths = [0.5, 1.0]
ineffective_per_1000 = 10.0
own_ruler_counts = false
allow_not_measured = ["sessions", "daily_active_users", "time", "original_posts", "comments", "shares"]
[harm]
any = 0.02
"""
CHANGE = ["--treatment", "fb-2018-h1", "--set-treatment", "weights.angry=0"]
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(gate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Feeds in which the calm post follows the angry one, one with harm that follows too, and a plan."""
    write_feed(swap_feed(30), tmp_path / "feeds.parquet")
    write_feed(swap_feed(30, attr_harm=[0.1, 0.6]), tmp_path / "harmful.parquet")
    (tmp_path / "gate.toml").write_text(PLAN)
    return tmp_path


def run(folder: Path, *options: str, feeds: str = "feeds.parquet"):
    arguments = [str(folder / feeds), *CHANGE, "--model", "none", "--plan", str(folder / "gate.toml")]
    before, console.width = console.width, 200
    try:
        return CliRunner().invoke(app, [*arguments, "-o", str(folder / "out"), *options])
    finally:
        console.width = before


def test_a_change_that_holds_exits_with_0_and_writes_both_files(folder: Path) -> None:
    found = run(folder, "--planned", load_plan(folder / "gate.toml").digest)
    assert found.exit_code == 0
    assert json.loads((folder / "out" / "gate.json").read_text())["passed"] is True
    assert "Passes: fb-2018-h1" in (folder / "out" / "gate.html").read_text()


def test_a_change_that_does_not_hold_exits_with_1_and_says_why_in_one_line(folder: Path) -> None:
    found = run(folder, "--truth", "harm", feeds="harmful.parquet")
    assert found.exit_code == 1
    content = json.loads((folder / "out" / "gate.json").read_text())
    assert content["passed"] is False
    assert content["reasons"] == ["harm harm (top 1): +500.00% (+500.00% to +500.00%), beyond the margin +2%"]


def test_harm_may_be_named_as_its_column_is(folder: Path) -> None:
    by_column = run(folder, "--truth", "attr_harm", feeds="harmful.parquet")
    assert by_column.output == run(folder, "--truth", "harm", feeds="harmful.parquet").output
    assert by_column.exit_code == 1


def test_a_plan_with_margins_of_its_own_may_let_the_shipped_guardrails_go(folder: Path) -> None:
    (folder / "gate.toml").write_text(PLAN + "[activity]\ncomments = 0.01\n")
    assert run(folder).exit_code == 0


def test_a_feed_without_candidates_is_one_error(folder: Path) -> None:
    (folder / "none.jsonl").write_text("")
    found = run(folder, "--truth", "harm", feeds="none.jsonl")
    assert isinstance(found.exception, FeedError)
    assert "none.jsonl: expected candidates, got none" in str(found.exception)
    assert not (folder / "out").exists()


def test_another_digest_than_the_planned_one_exits_with_1(folder: Path) -> None:
    assert run(folder, "--planned", "0123").exit_code == 1


def test_the_digest_is_printed_without_reading_a_feed(folder: Path) -> None:
    found = CliRunner().invoke(
        app, [str(folder / "none.parquet"), "--plan", str(folder / "gate.toml"), "--digest"]
    )
    assert found.exit_code == 0
    assert load_plan(folder / "gate.toml").digest in found.output.replace("\n", "")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--truth", "hrm"], "attributes: expected one of none, got 'hrm'"),
        (["--original", "fb-2081"], "expected a preset or a .toml file"),
    ],
)
def test_bad_input_is_one_error_and_writes_nothing(folder: Path, options: list[str], told: str) -> None:
    found = run(folder, *options)
    assert isinstance(found.exception, FeedError | PolicyError)
    assert told in str(found.exception)
    assert not (folder / "out").exists()


def test_a_plan_that_is_none_and_one_that_the_feed_cannot_be_held_to_are_errors(folder: Path) -> None:
    for text, told in (
        ("", "gate.toml: schema: expected 1, got None"),
        (PLAN.replace("any =", "toxicty ="), "plan: harm: expected a name that is known, got 'toxicty'"),
        (PLAN.replace("[0.5, 1.0]", "[2.0]"), "strengths: expected numbers in"),
        (PLAN + '[groups]\ncolumns = ["language"]\n', "expected the feed to hold language"),
    ):
        (folder / "gate.toml").write_text(text)
        found = run(folder)
        assert isinstance(found.exception, FeedError)
        assert told in str(found.exception)
    assert not (folder / "out").exists()


def test_a_single_user_is_an_error(folder: Path) -> None:
    write_feed(swap_feed(1, 5), folder / "one.parquet")
    found = run(folder, feeds="one.parquet")
    assert isinstance(found.exception, FeedError)
    assert str(found.exception) == "users: expected at least 2 to gate a launch, got 1"
    assert not (folder / "out").exists()


def test_without_a_folder_nothing_is_read(folder: Path) -> None:
    found = CliRunner().invoke(app, [str(folder / "none.parquet"), "--plan", str(folder / "gate.toml")])
    assert isinstance(found.exception, PolicyError)
    assert "--output: expected a folder" in str(found.exception)
