"""`reranker serve` as a process: it listens, ends well, runs several workers, and refuses bad options."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from reranker.cli import main
from reranker.serving.launch import read_keys
from tests.serving import body
from tests.tiny import save_classifier

WORDS = ("vote", "lie", "idiot", "fact", "angry")
START_S = 400


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("serve") / "tiny", WORDS, ("toxicity", "threat"))


class Running:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log
        self.url = f"http://127.0.0.1:{port}"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def serving(tmp_path: Path, *options: str, **environment: str) -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log.jsonl"
    command = (sys.executable, "-m", "reranker.cli", "serve", "--port", str(port), *options)
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command, stderr=stderr, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment
        )
    running, ends = Running(process, port, log), time.monotonic() + START_S
    try:
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            try:
                httpx.get(f"{running.url}/health", timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield running
    finally:
        process.terminate()
        process.wait(60)


def bytes_of(*texts: str) -> bytes:
    return json.dumps(body(list(texts))).encode()


def test_a_request_that_has_begun_is_finished_when_the_server_is_told_to_end(
    tmp_path: Path, model: Path
) -> None:
    with serving(tmp_path, "--model", str(model), "--arm", "chrono=chronological") as running:
        assert httpx.get(f"{running.url}/health").json()["model"].startswith("tiny@")
        whole = bytes_of("vote lie", "idiot fact")
        with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
            head = f"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: {len(whole)}\r\n"
            client.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 100")  # it reads the body: it has begun
            client.sendall(whole[:100])
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert running.process.poll() is None
            client.sendall(whole[100:])
            answer = b""
            while part := client.recv(65_536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"intervention_on":true' in answer
        running.process.wait(60)
    assert [line["status"] for line in running.lines() if line["message"] == "request"][-1] == 200


def test_several_workers_count_together_and_get_their_keys_without_showing_them(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# a comment\nhunter2\n\nhunter3\n")
    # the fast model, as its processes start without torch
    options = ("--speed", "fast", "--workers", "2", "--api-key-file", str(keys))
    with serving(tmp_path, *options) as running:
        for i in range(12):
            headers = {"X-Api-Key": "hunter3", "Connection": "close"}
            answer = httpx.post(f"{running.url}/rank", content=bytes_of(f"vote {i}"), headers=headers)
            assert answer.status_code == 200
        assert httpx.post(f"{running.url}/rank", content=bytes_of("vote")).status_code == 401
        metrics = httpx.get(f"{running.url}/metrics", headers=headers).text
        assert re.search(r'^reranker_requests_total\{route="/rank",status="200"\} 12\.0$', metrics, re.M)
        assert re.search(r"^reranker_queue_texts 0\.0$", metrics, re.M)
        children = subprocess.run(
            ["pgrep", "-P", str(running.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        environments = [Path(f"/proc/{child}/environ").read_bytes() for child in children]
        assert sum(b"RERANKER_SERVE=" in one for one in environments) >= 2
        assert not any(b"hunter" in one for one in environments)
    assert "hunter" not in running.log.read_text()
    ends = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_keys_come_from_the_file_or_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_keys(None) == ()
    monkeypatch.setenv("RERANKER_API_KEYS", "one, two\nthree")
    assert read_keys(None) == ("one", "two", "three")
    (tmp_path / "keys").write_text("four\n")
    assert read_keys(tmp_path / "keys") == ("four",)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--arm", "cohort"], "--arm: expected COHORT=POLICY, got 'cohort'"),
        (["--arm", "a=no-such-policy"], 'policy "no-such-policy": expected a preset'),
        (["--policy", "no-such-policy"], 'policy "no-such-policy": expected a preset'),
        (["--cache", "http://:hunter2@x"], 'cache: expected "memory" or redis://HOST:PORT/DB'),
        (["--max-items", "0"], "max_items: expected a number above 0, got 0"),
        (["--score-timeout", "nan"], "score_timeout_s: expected a number above 0, got nan"),
        (["--api-key-file", "/dev/null"], "expected at least one key, one a line, got none"),
        (["--api-key-file", "/no/such/file"], "No such file"),
        (["--model", "/no/such/model"], "/no/such/model"),
    ],
)
def test_bad_options_are_told_in_one_line(
    options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--port", "0", *options])
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip()
    assert told in error
    assert "\n" not in error
    assert "hunter2" not in error
