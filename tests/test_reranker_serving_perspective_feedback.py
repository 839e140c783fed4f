"""Suggested scores: what is written, what is refused, and that training reads it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from models.examples import LabelledTexts
from reranker.serving.perspective_feedback import append
from tests.perspective_calls import (
    SUGGEST,
    application,
    call,
    refusal,
    running,
)
from training.own import read_own

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("feedback") / "suggested.jsonl"
    with running(application(feedback=file)) as address:
        yield address


def suggestion(text: str = "Hi 😀 you. Go away!", **more: Any) -> dict[str, Any]:
    spans = [{"begin": 11, "end": 19, "score": {"value": 0.75}}]
    scores = {
        "TOXICITY": {"summaryScore": {"value": 0.25}, "spanScores": spans},
        "OBSCENE": {"summaryScore": {"value": 0}},
    }
    return {"comment": {"text": text}, "attributeScores": scores, "clientToken": "t"} | more


class TestSuggestions:
    def test_training_reads_what_was_suggested(self, tmp_path: Path) -> None:
        app = application(feedback=tmp_path / "suggested.jsonl")
        plain = {"TOXICITY": {"summaryScore": {"value": 1, "type": "PROBABILITY"}}, "FEARMONGERING": None}
        assert call(app, SUGGEST, suggestion(communityId="/forum/movies")).json() == {"clientToken": "t"}
        call(app, SUGGEST, suggestion("What a day!\u2028Yes", languages=["en-GB"], attributeScores=plain))
        (own,) = read_own(str(tmp_path / "suggested.jsonl"))
        assert own.rows.text == ["Hi 😀 you. Go away!", "Go away!", "What a day! Yes"]
        assert own.source == ["suggested/forum/movies", "suggested/forum/movies", "suggested"]
        np.testing.assert_array_equal(own.rows.target["toxicity"], [0.25, 0.75, 1])
        np.testing.assert_array_equal(own.rows.target["profanity"], [0, np.nan, np.nan])

    def test_the_whole_preparation_of_training_takes_the_file(self, tmp_path: Path) -> None:
        app, file = application(feedback=tmp_path / "suggested.jsonl"), tmp_path / "examples.parquet"
        for i in range(40):
            body = suggestion(f"This is text number {'x' * i} of many")
            body["attributeScores"] = {"TOXICITY": {"summaryScore": {"value": i % 2}}}
            call(app, SUGGEST, body)
        command = [
            sys.executable,
            "-m",
            "training.prepare",
            "--own",
            str(tmp_path / "suggested.jsonl"),
            "--out",
            str(file),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        examples = LabelledTexts.read(file)
        assert set(examples.source) == {"suggested"}
        assert sorted(examples.target[:, examples.labels.index("toxicity")]) == [0] * 20 + [1] * 20

    @pytest.mark.parametrize(
        ("scores", "message"),
        [
            (None, "Missing requested_attributes"),
            ({"TOXICITY": {}}, "Missing requested_attributes"),
            ({"FLIRTATION": {"summaryScore": {"value": 1}}}, "Unknown requested attribute: FLIRTATION"),
            (
                {"TOXICITY": {"summaryScore": {}}},
                "Invalid value at 'attributeScores.TOXICITY': expected a value in [0, 1], got none",
            ),
            (
                {"TOXICITY": {"summaryScore": {"value": 2}}},
                "Invalid value at 'attributeScores.TOXICITY.summaryScore.value': "
                "expected less than or equal to 1, got a number",
            ),
            (
                {"TOXICITY": {"summaryScore": {"value": 1, "type": "RAW"}}},
                "Requested score type RAW is not supported by attribute TOXICITY",
            ),
            (
                {"TOXICITY": {"spanScores": [{"begin": 0, "end": 4, "score": {"value": 1}}]}},
                "Invalid value at 'attributeScores.TOXICITY.spanScores': "
                "expected spans of the text, in UTF-16 units and in order, got [0, 4)",
            ),
            (
                {"TOXICITY": {"spanScores": [{"begin": 3, "end": 6}, {"begin": 5, "end": 9}]}},
                "Invalid value at 'attributeScores.TOXICITY.spanScores': "
                "expected spans of the text, in UTF-16 units and in order, got [5, 9)",
            ),
            (
                {"TOXICITY": {"summaryScore": {"value": 1}}, "TOXICITY@2": {"summaryScore": {"value": 0}}},
                "Attribute TOXICITY@2 has two scores for the same text",
            ),
        ],
    )
    def test_a_suggestion_that_says_nothing_usable_is_refused(
        self, server: str, scores: object, message: str
    ) -> None:
        assert refusal(server, suggestion(attributeScores=scores), SUGGEST)["message"] == message

    def test_a_community_with_a_long_name_is_refused(self, server: str) -> None:
        error = refusal(server, suggestion(communityId="c" * 201), SUGGEST)
        assert error["message"] == "Invalid value at 'communityId': expected at most 200 characters, got 201"

    def test_nothing_is_written_of_a_comment_that_is_not_to_be_stored(self, tmp_path: Path) -> None:
        app = application(feedback=tmp_path / "suggested.jsonl")
        assert call(app, SUGGEST, suggestion(doNotStore=True)).json() == {"clientToken": "t"}
        assert not (tmp_path / "suggested.jsonl").exists()

    def test_neither_token_nor_session_is_written_and_others_cannot_read(self, tmp_path: Path) -> None:
        file = tmp_path / "suggested.jsonl"
        call(application(feedback=file), SUGGEST, suggestion(clientToken="secret1", sessionId="secret2"))
        assert "secret" not in file.read_text()
        assert file.stat().st_mode & 0o777 == 0o600

    def test_without_a_file_no_suggestion_is_taken(self) -> None:
        answer = call(application(), SUGGEST, suggestion())
        assert (answer.status_code, answer.json()["error"]["status"]) == (501, "UNIMPLEMENTED")

    def test_a_full_disk_is_told_without_the_text(self, caplog: pytest.LogCaptureFixture) -> None:
        answer = call(application(feedback=Path("/dev/full")), SUGGEST, suggestion())
        assert (answer.status_code, answer.json()["error"]["status"]) == (503, "UNAVAILABLE")
        assert "Go away" not in caplog.text

    def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(self, tmp_path: Path) -> None:
        file = tmp_path / "suggested.jsonl"
        append(file, [{"text": "a", "toxicity": 1.0}])
        before = file.read_bytes()
        limit = len(before) + 10
        code = f"""
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
            try:
                append(file, [{{"text": "b" * 100, "toxicity": 1.0}}])
            except OSError:
                print("refused")
        """
        assert run_beside(file, code).communicate()[0] == "refused\n"
        assert file.read_bytes() == before

    def test_a_last_line_without_an_end_stays_a_line(self, tmp_path: Path) -> None:
        file = tmp_path / "suggested.jsonl"
        file.write_text('{"text": "by hand", "toxicity": 0}')
        append(file, [{"text": "a", "toxicity": 1.0}])
        assert [json.loads(line)["text"] for line in file.read_text().splitlines()] == ["by hand", "a"]

    def test_lines_of_several_processes_stay_whole(self, tmp_path: Path) -> None:
        file = tmp_path / "suggested.jsonl"
        code = """
            for i in range(50):
                append(file, [{"text": "x" * 100_000, "source": name}, {"text": "y", "source": name}])
        """
        processes = [run_beside(file, f"name = {name!r}\n{dedent(code)}") for name in "ab"]
        assert [process.communicate()[0] for process in processes] == ["", ""]
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert sorted(row["source"] for row in rows) == ["a"] * 100 + ["b"] * 100


def run_beside(file: Path, code: str) -> "subprocess.Popen[str]":
    """A process of its own that runs the code with the names `append` and `file`."""
    lines = f"""
from pathlib import Path
from reranker.serving.perspective_feedback import append
file = Path({str(file)!r})
{dedent(code)}
"""
    return subprocess.Popen([sys.executable, "-c", lines], stdout=subprocess.PIPE, text=True, cwd=ROOT)
