"""The playground's server: what the page asks for, and that nothing a request says harms it."""

import asyncio
import json
import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from eval.outcomes import standard_outcomes
from eval.rows import change_rows
from reranker.anger import AngerBaseline
from reranker.explain import explain
from reranker.pipeline import Reranker, score_harms
from reranker.presets import list_presets, load_policy
from reranker.serving import playground, playground_feeds
from reranker.serving.playground_reading import feed_from_file
from reranker.serving.service import BusyError
from tests.playground import (
    BOTH,
    ORIGINAL,
    client,
    lines,
    ready,
    score_words,
    upload,
)

POLICIES = [info.name for info in list_presets() if info.kind == "policy"]


@pytest.fixture(scope="module")
def served() -> Iterator[TestClient]:
    with client() as one:
        yield one


@pytest.fixture(scope="module")
def mine(served: TestClient) -> str:
    feed = upload(served, lines())
    ready(served, feed)
    return feed


def test_the_page_comes_with_a_policy_that_allows_no_other_host_and_no_inline_script(
    served: TestClient,
) -> None:
    page = served.get("/")
    assert page.headers["content-type"].startswith("text/html")
    rules = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page.text)


def test_every_file_that_the_page_names_is_served(served: TestClient) -> None:
    page = served.get("/").text
    named = set(re.findall(r"playground/files/([\w.]+)", page))
    scripts = [name for name in named if name.endswith(".js")]
    while scripts:
        answer = served.get(f"/playground/files/{scripts.pop()}")
        assert answer.headers["content-type"].startswith("text/javascript")
        more = set(re.findall(r'from "\./([\w.]+)"', answer.text)) - named
        named |= more
        scripts += more
    assert len(named) > 8
    for name in named:
        answer = served.get(f"/playground/files/{name}")
        assert answer.status_code == 200
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text)
    assert named >= {path.name for path in playground.FILES.iterdir() if path.suffix in (".js", ".css")}


def test_a_file_that_has_not_changed_is_not_sent_again(served: TestClient) -> None:
    first = served.get("/playground/files/app.js")
    again = served.get("/playground/files/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2fplayground.py", "%2e%2e%2fplayground.py", "__init__.py"]
)
def test_no_other_file_of_the_machine_is_served(served: TestClient, name: str) -> None:
    assert served.get(f"/playground/files/{name}").status_code == 404


def test_an_export_over_http_is_the_policy_that_ranks(served: TestClient, mine: str, tmp_path: Path) -> None:
    treatment = {"policy": "harm-aware", "settings": {"demotion.toxicity.line": 0.3}, "without": ["threat"]}
    ranked = served.post("/playground/compare", json=BOTH | {"feed": mine, "treatment": treatment}).json()
    text = served.post("/playground/policy.toml", json=treatment).text
    (tmp_path / "mine.toml").write_text(text)
    assert load_policy(str(tmp_path / "mine.toml")).digest == ranked["treatment"]["policy"]["digest"]


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"policy": "harm-awre"}, 'expected the name of a preset, got "harm-awre"; did you mean'),
        ({"policy": "/etc/secret.toml"}, "expected the name of a preset"),
        ({"policy": "harm-aware+../secret.toml"}, "expected the name of a preset"),
        ({"policy": "server+x.toml"}, "expected the name of a preset"),
        ({"policy": "halving"}, "expected a policy, got an overlay"),
        ({"policy": "harm-aware", "settings": {"blend.old": 1}}, "expected keys such as weights.angry"),
        ({"policy": "harm-aware", "settings": {"base": 1}}, "expected keys such as weights.angry"),
        ({"policy": "harm-aware", "settings": {"weights.angry\nx": 1}}, "expected keys such as"),
        ({"policy": "harm-aware", "settings": {"weights.angryy": 1}}, 'unknown signal "angryy"'),
        ({"policy": "harm-aware", "settings": {"weights.angry": "x.toml"}}, "settings.weights.angry"),
        ({"policy": "harm-aware", "settings": {"demotion.toxicity.floor": 0.5}}, "expected at most 0.0"),
        ({"policy": "harm-aware", "without": ["humor"]}, "without: expected a label that harm-aware demotes"),
        ({"policy": "harm-aware", "extra": 1}, "extra"),
    ],
)
def test_a_bad_policy_is_refused_in_one_message(
    served: TestClient, arm: dict[str, Any], message: str
) -> None:
    answer = served.post("/playground/policy", json=arm)
    assert answer.status_code == 422
    assert message in answer.json()["error"]


def test_a_number_that_json_cannot_say_is_refused(served: TestClient) -> None:
    body = b'{"policy": "harm-aware", "settings": {"weights.angry": NaN}}'
    answer = served.post("/playground/policy", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_a_file_that_is_too_large_is_answered_413() -> None:
    with client(max_body_bytes=1_000) as one:
        answer = one.post("/playground/feeds?name=a.csv", content=b"x" * 1_001)
        assert (answer.status_code, "expected a file of at most" in answer.json()["error"]) == (413, True)


def test_a_bad_file_is_answered_with_its_message(served: TestClient) -> None:
    answer = served.post("/playground/feeds?name=a.csv", content=b"request_id,post_id,like\nr,p,x")
    assert answer.status_code == 422
    assert answer.json()["error"] == "a.csv: like: expected a number, got 'x' at row 0"


def test_both_sides_are_ranked_as_the_command_line_ranks(served: TestClient, mine: str) -> None:
    found = served.post("/playground/compare", json=BOTH | {"feed": mine, "request": 1}).json()
    feed = feed_from_file("a.jsonl", lines(), max_text_bytes=1_000)
    harms = score_harms(feed, score_words)
    for side, arm in (("original", "fb-2018-h1"), ("treatment", "harm-aware")):
        ranking = Reranker(load_policy(arm), baseline=AngerBaseline.fit(feed)).rank(feed, harms)
        assert [f"p{i}" for i in found[side]["order"]] == ranking.ids(1)
        assert found[side]["policy"]["digest"] == load_policy(arm).digest
    assert found["original"]["rank"][0] == 1
    assert found["treatment"]["rank"][0] == 5
    assert found["treatment"]["demotions"][0]["toxicity"] == 0.0


def test_figures_are_those_of_the_evaluation(served: TestClient, mine: str) -> None:
    found = served.post("/playground/compare", json=BOTH | {"feed": mine}).json()["figures"]
    feed = feed_from_file("a.jsonl", lines(), max_text_bytes=1_000)
    harms, baseline = score_harms(feed, score_words), AngerBaseline.fit(feed)
    first, second = (
        Reranker(load_policy(name), baseline=baseline).rank(feed, harms)
        for name in ("fb-2018-h1", "harm-aware")
    )
    outcomes = [one for one in standard_outcomes(feed, harms) if one.kind != "context"]
    rows = change_rows(first, second, outcomes, "10%", seed=0, n_resamples=1_000)
    assert [row["metric"] for row in found["rows"]] == [row.metric for row in rows]
    for figure, row in zip(found["rows"], rows, strict=True):
        assert (figure["relative"], figure["low"], figure["high"]) == (
            row.relative,
            row.relative_low,
            row.relative_high,
        )
        assert figure["own_ruler"] == (figure["source"] == "estimated")
    assert (found["n_requests"], found["n_clusters"], found["cluster"]) == (3, 3, "users")


def test_the_same_policy_on_both_sides_changes_nothing(served: TestClient, mine: str) -> None:
    found = served.post(
        "/playground/compare", json={"feed": mine, "original": ORIGINAL, "treatment": ORIGINAL}
    ).json()
    assert found["original"]["order"] == found["treatment"]["order"]
    assert {row["direction"] for row in found["figures"]["rows"]} <= {"identical", "not measured"}


def test_known_truth_is_measured_on_the_sample_only(served: TestClient, mine: str) -> None:
    sample = ready(served, "sample")
    rows = served.post("/playground/compare", json=BOTH).json()["figures"]["rows"]
    known = [row["metric"] for row in rows if row["source"] == "known"]
    assert known == sample["known"] == list(playground_feeds.KNOWN)
    rows = served.post("/playground/compare", json=BOTH | {"feed": mine}).json()["figures"]["rows"]
    assert not [row for row in rows if row["source"] == "known"]


def test_the_sweep_is_at_zero_where_the_originals_own_weight_stands(served: TestClient, mine: str) -> None:
    original = {"policy": "fb-2018-h1", "settings": {"weights.angry": 1.5}}
    found = served.post(
        "/playground/sweep", json={"feed": mine, "original": original, "swept": original}
    ).json()
    own = found["weights"].index(1.5)
    assert {name: points[own][0] for name, points in found["rows"].items() if points[own][0]} == {}
    assert (found["weights"][0], found["weights"][-1]) == (0.0, 5.0)
    assert all(len(points) == len(found["weights"]) for points in found["rows"].values())


def test_an_explanation_is_that_of_the_library_and_adds_up(served: TestClient, mine: str) -> None:
    found = served.post("/playground/explain", json=BOTH | {"feed": mine, "request": 2, "post": "p0"}).json()
    feed = feed_from_file("a.jsonl", lines(), max_text_bytes=1_000)
    ranking = Reranker(load_policy("harm-aware"), baseline=AngerBaseline.fit(feed)).rank(
        feed, score_harms(feed, score_words)
    )
    expected = json.loads(json.dumps(explain(ranking, "p0", "r2").as_dict()))
    assert found["treatment"] == expected
    for side in ("original", "treatment"):
        total = sum(term["amount"] for term in found[side]["terms"])
        assert total == pytest.approx(found[side]["score"], abs=1e-9)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("compare", {"request": 3}, 422, "request: expected 0 to 2, got 3"),
        ("compare", {"request": -1}, 422, "request"),
        ("compare", {"feed": "no"}, 404, "not here any more"),
        ("compare", {"original": {"policy": "chronological"}}, 422, "created_at: expected a time"),
        (
            "compare",
            {"treatment": {"policy": "x-2026"}},
            422,
            "expected signals as probabilities, got counts",
        ),
        ("explain", {"post": "p9"}, 422, 'post "p9": expected a post of the feed'),
        ("explain", {}, 422, "post"),
        ("sweep", {}, 422, "swept"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_message(
    served: TestClient, mine: str, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    answer = served.post(f"/playground/{path}", json=BOTH | {"feed": mine} | body)
    assert answer.status_code == status
    assert message in answer.json()["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["weights.angry", "demotion.toxicity.line", "score.bounded", "value.bad_weight", "slate.author_cap"]
)
ARMS = JSON | st.fixed_dictionaries(
    {"policy": st.sampled_from([*POLICIES, "halving", "server"]) | st.text(max_size=20)},
    optional={"settings": st.dictionaries(KEYS | st.text(max_size=20), JSON, max_size=3), "without": JSON},
)


@given(original=ARMS, treatment=ARMS, request=JSON | st.just(0))
def test_no_body_makes_the_server_fail(
    served: TestClient, mine: str, original: Any, treatment: Any, request: Any
) -> None:
    body = {"feed": mine, "request": request, "original": original, "treatment": treatment}
    sent = json.dumps(body).encode()
    answer = served.post("/playground/compare", content=sent, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 422)
    assert answer.status_code == 200 or "\n" not in answer.json()["error"]


def test_many_sliders_at_once_are_all_answered_or_told_to_come_back(mine: str, served: TestClient) -> None:
    def ask(i: int) -> tuple[int, str | None]:
        treatment = {"policy": "harm-aware", "settings": {"weights.angry": i / 10}}
        answer = served.post("/playground/compare", json=BOTH | {"feed": mine, "treatment": treatment})
        return answer.status_code, answer.headers.get("retry-after")

    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(ask, range(60)))
    assert set(answers) <= {(200, None), (503, "1")}
    assert (200, None) in answers


def test_too_much_waiting_work_is_refused() -> None:
    go_on = threading.Event()

    async def ask() -> list[bool | BaseException]:
        desk = playground.Desk()
        asked = [
            asyncio.ensure_future(desk.do(lambda: go_on.wait(20))) for _ in range(playground.MAX_WAITING + 3)
        ]
        refused = [
            one for one in (await asyncio.wait(asked, return_when="FIRST_EXCEPTION"))[0] if one.exception()
        ]
        go_on.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert len(refused) == 3
        return [*answers, await desk.do(lambda: True)]

    answers = asyncio.run(ask())
    assert answers.count(True) == playground.MAX_WAITING + 1
    assert [type(one) for one in answers if one is not True] == [BusyError] * 3


def test_no_text_of_a_post_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), client() as one:
        rows = [{"request_id": "r", "post_id": "p", "text": "a secret of mine", "like": 1}]
        feed = upload(one, lines(rows))
        ready(one, feed)
        one.post("/playground/compare", json=BOTH | {"feed": feed})
        one.post(
            "/playground/feeds?name=a.csv", content=b"request_id,post_id,like,text\nr,p,x,a secret of mine"
        )
    assert "secret of mine" not in caplog.text
