"""The Perspective API over HTTP on loopback, by hand: answers, languages, refusals, any input."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scores import Content, HarmScores
from reranker.serving.perspective_sentences import slice_utf16, utf16_length
from tests.perspective_calls import (
    ANALYZE,
    GERMAN,
    LABELS,
    MODEL,
    SUGGEST,
    analyze,
    application,
    asked,
    call,
    refusal,
    running,
    word_scorer,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("feedback") / "suggested.jsonl"
    with running(application(feedback=file)) as address:
        yield address


class TestAnswers:
    def test_the_names_of_the_request_come_back(self, server: str) -> None:
        names = ("TOXICITY", "TOXICITY@words", "TOXICITY_EXPERIMENTAL", "OBSCENE", "REASONING_EXPERIMENTAL")
        found = analyze(server, asked("You idiot", *names))
        values = {name: entry["summaryScore"]["value"] for name, entry in found["attributeScores"].items()}
        assert values == dict.fromkeys(names, 0.5) | {"REASONING_EXPERIMENTAL": 0.25}

    def test_one_span_holds_the_whole_text_unless_sentences_are_asked_for(self, server: str) -> None:
        text = "You idiot! 😀 Thank you all."
        whole = analyze(server, asked(text))["attributeScores"]["TOXICITY"]
        assert [(span["begin"], span["end"]) for span in whole["spanScores"]] == [(0, utf16_length(text))]
        assert whole["spanScores"][0]["score"] == whole["summaryScore"]
        each = analyze(server, asked(text, spanAnnotations=True))["attributeScores"]["TOXICITY"]
        assert each["summaryScore"] == whole["summaryScore"]
        parts = [slice_utf16(text, span["begin"], span["end"]) for span in each["spanScores"]]
        assert parts == ["You idiot! ", "😀 Thank you all."]
        assert [span["score"]["value"] for span in each["spanScores"]] == [0.5, 0.0]

    def test_a_part_without_a_score_has_no_span(self, server: str) -> None:
        body = asked("Stop. We all know it.", "REASONING_EXPERIMENTAL", spanAnnotations=True)
        spans = analyze(server, body)["attributeScores"]["REASONING_EXPERIMENTAL"]["spanScores"]
        assert [(span["begin"], span["end"]) for span in spans] == [(6, 21)]

    def test_an_attribute_below_its_threshold_is_left_out(self, server: str) -> None:
        body = asked("You idiot")
        body["requestedAttributes"] = {
            "TOXICITY": {"scoreThreshold": 0.5},
            "INSULT": {"scoreThreshold": 0.51},
        }
        assert set(analyze(server, body)["attributeScores"]) == {"TOXICITY"}

    def test_without_any_attribute_left_there_are_no_attribute_scores(self, server: str) -> None:
        body = asked("You there", clientToken="t")
        body["requestedAttributes"] = {"TOXICITY": {"scoreType": "PROBABILITY", "scoreThreshold": 0.1}}
        assert analyze(server, body) == {"languages": ["en"], "detectedLanguages": ["en"], "clientToken": "t"}

    def test_what_is_not_needed_is_accepted(self, server: str) -> None:
        more = {
            "context": {"entries": [{"text": "before", "type": "PLAIN_TEXT"}]},
            "doNotStore": True,
            "sessionId": "s",
            "communityId": None,
            "unknown": {"nested": [1]},
        }
        assert analyze(server, asked(**more)) == analyze(server, asked())

    def test_fields_may_be_in_snake_case(self, server: str) -> None:
        body = {
            "comment": {"text": "You idiot"},
            "requested_attributes": {"TOXICITY": None},
            "client_token": "t",
        }
        assert analyze(server, body)["clientToken"] == "t"

    def test_neither_content_type_nor_key_matter(self, server: str) -> None:
        body = json.dumps(asked()).encode("utf-8-sig")
        for headers in (
            {},
            {"content-type": "text/plain"},
            {"content-type": "application/x-www-form-urlencoded"},
        ):
            answer = httpx.post(f"{server}{ANALYZE}?key=any", content=body, headers=headers)
            assert answer.status_code == 200

    def test_half_of_an_emoji_is_no_failure_and_keeps_offsets(self, server: str) -> None:
        body = b'{"comment":{"text":"\\ud83d You idiot. \\ude00!"},"requestedAttributes":{"TOXICITY":{}},'
        answer = httpx.post(
            server + ANALYZE, content=body + b'"spanAnnotations":true,"clientToken":"\\uD83D"}'
        )
        found = answer.json()
        spans = found["attributeScores"]["TOXICITY"]["spanScores"]
        assert [(span["begin"], span["end"]) for span in spans] == [(0, 13), (13, 15)]
        assert found["clientToken"] == "\ufffd"


class TestLanguages:
    @pytest.mark.parametrize(
        "text", ["yo hamburger", "u r an idot lmao", "omg nooo", "😀😀", "123", "Schadenfreude"]
    )
    def test_short_and_misspelt_texts_count_as_served(self, server: str, text: str) -> None:
        assert analyze(server, asked(text))["languages"] == ["en"]

    def test_a_stated_language_is_believed_and_the_detected_one_told(self, server: str) -> None:
        found = analyze(server, asked(GERMAN, languages=["en-GB"]))
        assert found["languages"] == ["en-GB"]
        assert found["detectedLanguages"] == ["de"]

    def test_of_several_stated_languages_the_served_one_is_read(self, server: str) -> None:
        found = analyze(server, asked("You are all wrong.", languages=["de", "en"]))
        assert found["languages"] == ["de", "en"]
        assert found["detectedLanguages"] == ["en"]

    @pytest.mark.parametrize("stated", [None, ["de"], ["en", "de"], ["und"]])
    def test_other_languages_are_refused(self, server: str, stated: list[str] | None) -> None:
        error = refusal(server, asked(GERMAN, "INSULT", "TOXICITY", languages=stated))
        detail = error["details"][0]
        named = stated if stated != ["und"] else None
        assert (
            error["message"]
            == f"Attribute INSULT does not support request languages: {', '.join(named or ['de'])}"
        )
        assert detail["errorType"] == "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
        expected = {"detectedLanguages": ["de"], "attribute": "INSULT"} | (
            {"requestedLanguages": named} if named else {}
        )
        assert detail["languageNotSupportedByAttributeError"] == expected

    def test_an_unknown_script_cannot_be_detected(self, server: str) -> None:
        error = refusal(server, asked("ᚠᚢᚦᚨᚱᚲ ᚷᚹᚺᚾᛁᛃ"))
        assert error["message"] == "Unable to detect language"
        assert error["details"][0]["errorType"] == "LANGUAGE_DETECTION_FAILED"


INVALID = [
    (asked(""), "COMMENT_EMPTY", "Comment must be non-empty."),
    (asked(" \n\t"), "COMMENT_EMPTY", "Comment must be non-empty."),
    ({"requestedAttributes": {"TOXICITY": {}}}, "COMMENT_EMPTY", "Comment must be non-empty."),
    (b"", "COMMENT_EMPTY", "Comment must be non-empty."),
    (asked("é" * 10_241), "COMMENT_TOO_LONG", "Comment text too long."),
    ({"comment": {"text": "Hi"}}, "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
    (asked() | {"requestedAttributes": {}}, "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
    (asked("Hi", "SPAM"), "INVALID_REQUEST", "Unknown requested attribute: SPAM"),
    (asked("Hi", "CIVIC"), "INVALID_REQUEST", "Unknown requested attribute: CIVIC"),
    (asked("Hi", "TOXICITY@6"), "INVALID_REQUEST", "Unknown requested attribute: TOXICITY@6"),
    (
        asked() | {"requestedAttributes": {"TOXICITY": {"scoreType": "PERCENTILE"}}},
        "INVALID_REQUEST",
        "Requested score type PERCENTILE is not supported by attribute TOXICITY",
    ),
    (
        asked() | {"comment": {"text": "Hi", "type": "HTML"}},
        "INVALID_REQUEST",
        "Currently, only 'PLAIN_TEXT' comments are supported",
    ),
    (
        asked() | {"comment": {"text": 5}},
        "INVALID_REQUEST",
        "Invalid value at 'comment.text': expected a valid string, got a number",
    ),
    (
        asked() | {"requestedAttributes": {"TOXICITY": {"scoreThreshold": "0.5"}}},
        "INVALID_REQUEST",
        "Invalid value at 'requestedAttributes.TOXICITY.scoreThreshold': "
        "expected a valid number, got a string",
    ),
    (
        asked(languages="en"),
        "INVALID_REQUEST",
        "Invalid value at 'languages': expected a valid list, got a string",
    ),
    (
        b'{"comment":',
        "INVALID_REQUEST",
        "Invalid JSON payload received. Expecting value at line 1, column 12.",
    ),
    (b"[]", "INVALID_REQUEST", "Invalid JSON payload received. Expected an object, got an array."),
    (
        b"\xff{}",
        "INVALID_REQUEST",
        "Invalid JSON payload received. Expected UTF-8, got another byte at position 0.",
    ),
    (b'{"a":' * 100_000, "INVALID_REQUEST", "Invalid JSON payload received. It is nested too deeply."),
    (b'{"a":NaN}', "INVALID_REQUEST", "Invalid JSON payload received. Expected numbers that JSON allows."),
    (
        b'{"a":' + b"9" * 5_000 + b"}",
        "INVALID_REQUEST",
        "Invalid JSON payload received. Expected numbers that JSON allows.",
    ),
]


class TestRefusals:
    @pytest.mark.parametrize(("body", "kind", "message"), INVALID)
    def test_a_request_that_cannot_be_answered_says_why(
        self, server: str, body: object, kind: str, message: str
    ) -> None:
        error = refusal(server, body)
        assert error["message"] == message
        assert error["details"][0]["errorType"] == kind

    def test_the_longest_text_is_read(self, server: str) -> None:
        analyze(server, asked("so " * 6_826 + "ok"))
        assert refusal(server, asked("so " * 6_826 + "okay"))["details"][0]["errorType"] == "COMMENT_TOO_LONG"

    def test_a_large_body_is_refused(self) -> None:
        answer = call(application(), ANALYZE, b" " * (2 * 2**20 + 1))
        assert answer.status_code == 413
        assert answer.json()["error"]["message"] == "Request payload size exceeds the limit: 2097152 bytes."

    def test_a_text_that_shows_nothing_is_empty(self) -> None:
        def nothing(content: Content) -> HarmScores:
            scores = word_scorer(content)
            hidden = np.array([text == "\u200b" for text in content.text])
            probability = np.where(hidden[:, None], np.nan, scores.probability)
            return HarmScores(LABELS, probability, np.where(np.isnan(probability), np.nan, 1.0), MODEL)

        answer = call(application(nothing), ANALYZE, asked("\u200b"))
        assert answer.json()["error"]["details"][0]["errorType"] == "COMMENT_EMPTY"

    def test_without_a_model_there_is_no_score(self) -> None:
        answer = call(application(None), ANALYZE, asked())
        assert answer.status_code == 503
        assert answer.json()["error"]["status"] == "UNAVAILABLE"
        assert answer.headers["retry-after"] == "1"

    def test_a_model_without_public_labels_serves_no_attribute(self) -> None:
        def civic(content: Content) -> HarmScores:
            ones = np.ones((content.n, 1), dtype=np.float32)
            return HarmScores(("civic",), ones, ones, MODEL)

        answer = call(application(civic), ANALYZE, asked())
        assert answer.json()["error"]["message"] == "Unknown requested attribute: TOXICITY"

    def test_a_full_queue_is_worth_another_attempt(self) -> None:
        entered, leave = threading.Event(), threading.Event()

        def slow(content: Content) -> HarmScores:
            if "wait" in content.text:
                entered.set()
                leave.wait(10)
            return word_scorer(content)

        async def crowded() -> list[httpx.Response]:
            app = application(slow, max_waiting_texts=1)
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://test"
            ) as client:
                await client.post(ANALYZE, json=asked("first"))
                tasks = [asyncio.create_task(client.post(ANALYZE, json=asked("wait")))]
                await asyncio.to_thread(entered.wait, 10)
                tasks += [
                    asyncio.create_task(client.post(ANALYZE, json=asked(f"word {i}"))) for i in range(3)
                ]
                await asyncio.wait(tasks[1:], return_when="FIRST_COMPLETED")
                leave.set()
                return await asyncio.gather(*tasks)

        answers = asyncio.run(crowded())
        assert [answer.status_code for answer in answers].count(200) >= 2
        refused = next(answer for answer in answers if answer.status_code != 200)
        assert refused.status_code == 429
        assert refused.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert int(refused.headers["retry-after"]) >= 1


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "comment": VALUES
        | st.fixed_dictionaries({"text": VALUES | st.text(max_size=200)}, optional={"type": VALUES}),
        "requestedAttributes": VALUES
        | st.dictionaries(st.sampled_from(["TOXICITY", "INSULT@x", "SPAM"]), VALUES),
        "attributeScores": VALUES | st.dictionaries(st.sampled_from(["TOXICITY", "SPAM"]), VALUES),
        "languages": VALUES | st.lists(st.text(max_size=5), max_size=3),
        "spanAnnotations": VALUES,
        "clientToken": VALUES | st.text(st.characters(), max_size=5),
        "doNotStore": st.just(True),
    },
)
FUZZED = application(feedback=Path("never-written.jsonl"))


class TestBadInput:
    @given(
        REQUESTS.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=60),
        st.sampled_from([ANALYZE, SUGGEST]),
    )
    def test_every_body_gets_scores_or_an_error_in_googles_shape(self, body: bytes, path: str) -> None:
        answer = call(FUZZED, path, body)
        if answer.status_code != 200:
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert error["status"] == "INVALID_ARGUMENT"
            assert error["details"][0]["errorType"]

    @given(st.text(st.characters(), min_size=1, max_size=300))
    def test_spans_of_any_text_tile_it(self, text: str) -> None:
        answer = call(FUZZED, ANALYZE, asked(text, "TOXICITY", spanAnnotations=True, languages=["en"]))
        if answer.status_code == 200:
            sent = text.encode("utf-16-le", "surrogatepass")
            spans = answer.json()["attributeScores"]["TOXICITY"]["spanScores"]
            edges = [0, *(span["end"] for span in spans)]
            assert [span["begin"] for span in spans] == edges[:-1]
            assert edges[-1] == len(sent) // 2
        else:
            assert answer.json()["error"]["details"][0]["errorType"] == "COMMENT_EMPTY"

    @given(st.binary(max_size=200))
    def test_a_batch_of_anything_is_answered(self, body: bytes) -> None:
        framed = b"--b\r\nContent-Type: application/http\r\n\r\nPOST " + body + b"\r\n--b--\r\n"
        answer = call(FUZZED, "/batch", framed, headers={"content-type": "multipart/mixed; boundary=b"})
        assert answer.status_code in {200, 400}
