"""Unmodified clients of the Perspective API that people use, against a server on loopback."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import pytest
from googleapiclient.discovery import Resource, build
from googleapiclient.errors import HttpError

from tests.perspective_calls import GERMAN, application, asked, call, running

NODE = Path(__file__).parent / "node"
PAGE = Path(__file__).parent.parent / "docs" / "perspective.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("feedback") / "suggested.jsonl"
    with running(application(feedback=file)) as address:
        yield address


class TestUnmodifiedClients:
    def client(self, server: str) -> Resource:
        return build(
            "commentanalyzer",
            "v1alpha1",
            developerKey="any",
            discoveryServiceUrl=f"{server}/$discovery/rest?version=v1alpha1",
            static_discovery=False,
        )

    def test_googles_python_client_analyzes(self, server: str) -> None:
        with self.client(server) as client:
            body = asked("You pathetic idiot.", "TOXICITY", "INSULT", languages=["en"])
            found = client.comments().analyze(body=body).execute()
        assert found["attributeScores"]["TOXICITY"]["summaryScore"] == {
            "value": 0.6666667,
            "type": "PROBABILITY",
        }
        assert set(found["attributeScores"]) == {"TOXICITY", "INSULT"}

    def test_googles_python_client_suggests_scores(self, server: str) -> None:
        body = {"comment": {"text": "Hi"}, "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0}}}}
        with self.client(server) as client:
            assert client.comments().suggestscore(body=body | {"clientToken": "t"}).execute() == {
                "clientToken": "t"
            }

    def test_googles_python_client_tells_why(self, server: str) -> None:
        with self.client(server) as client, pytest.raises(HttpError) as raised:
            client.comments().analyze(body=asked(GERMAN)).execute()
        assert raised.value.status_code == 400
        assert "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE" in str(raised.value)

    def test_googles_python_client_sends_batches(self, server: str) -> None:
        found: dict[str, Any] = {}
        with self.client(server) as client:
            batch = client.new_batch_http_request(
                lambda name, answer, error: found.update({name: (answer, error)})
            )
            batch.add(client.comments().analyze(body=asked("You idiot.")), request_id="rude")
            batch.add(client.comments().analyze(body=asked("You naïve 😀 friend of mine")), request_id="kind")
            batch.add(client.comments().analyze(body=asked("")), request_id="empty")
            batch.execute()
        values = {
            name: answer["attributeScores"]["TOXICITY"]["summaryScore"]["value"]
            for name, (answer, _) in found.items()
            if answer
        }
        assert values == {"rude": 0.5, "kind": 0.0}
        assert "COMMENT_EMPTY" in str(found["empty"][1])

    def test_the_code_of_the_page_runs(self, server: str) -> None:
        (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        code = code.replace("http://localhost:8000", server)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("0.25\n", "")

    def test_clients_for_node_get_the_same(self, server: str) -> None:
        node = which("node")
        if node is None or not (NODE / "node_modules").is_dir():
            pytest.skip("node is absent, or its packages: npm ci --prefix tests/node")
        done = subprocess.run(
            [node, NODE / "perspective.js", server], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        simple = found["simple"]["attributeScores"]
        assert {name: entry["summaryScore"]["value"] for name, entry in simple.items()} == {
            "TOXICITY": 0.4,
            "INSULT": 0.4,
        }
        assert found["object"]["languages"] == ["en"]
        assert found["unknown"] == "Unknown requested attribute: FLIRTATION"
        assert found["foreign"] == "Attribute TOXICITY does not support request languages: de"
        assert found["sentences"] == ["Good 😀 morning! ", "What a pathetic idiot you are. ", "👍🏽 Bye"]
        assert found["analyzed"]["clientToken"] == "a"
        assert found["suggested"] == {"clientToken": "b"}


class TestBatches:
    def test_only_methods_of_the_api_can_be_called(self, server: str) -> None:
        part = "Content-Type: application/http\r\n\r\nPOST /v1alpha1/attributes HTTP/1.1\r\n\r\n{}"
        body = f"--b\r\n{part}\r\n--b--\r\n"
        answer = httpx.post(
            f"{server}/batch", content=body, headers={"content-type": "multipart/mixed; boundary=b"}
        )
        assert answer.status_code == 200
        assert "HTTP/1.1 404" in answer.text

    @pytest.mark.parametrize(
        "kind", ["application/json", "multipart/mixed", "multipart/mixed; boundary=other", "x\r\ny"]
    )
    def test_another_body_is_refused(self, kind: str) -> None:
        headers = {"content-type": kind.encode()}
        assert call(application(), "/batch", b"--b\r\n\r\nx\r\n--b--", headers=headers).status_code == 400

    def test_too_many_calls_are_refused(self) -> None:
        body = (
            b"--b\r\nContent-Type: application/http\r\n\r\nPOST /x HTTP/1.1\r\n\r\n{}\r\n" * 1_001 + b"--b--"
        )
        answer = call(application(), "/batch", body, headers={"content-type": "multipart/mixed; boundary=b"})
        assert "at most 1,000 calls, got 1,001" in answer.json()["error"]["message"]
