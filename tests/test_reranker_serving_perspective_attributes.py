"""Which attributes and versions are served, and how clients find out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.bundled import BUNDLED
from models.classifier import HarmClassifier
from reranker.serving.perspective_attributes import Catalogue
from reranker.serving.perspective_discovery import discovery_document
from reranker.serving.perspective_errors import ApiError
from tests.perspective_calls import ANALYZE, GERMAN, LABELS, MODEL, analyze, application, asked, call, running
from tests.tiny import save_classifier


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("feedback") / "suggested.jsonl"
    with running(application(feedback=file)) as address:
        yield address


class TestVersions:
    @pytest.mark.parametrize(
        ("pin", "model"),
        [
            ("words", MODEL),
            ("words@0123456789ab", MODEL),
            ("words@012345", MODEL),
            ("0123456789ab", MODEL),
            ("012345", MODEL),
            ("words", f"{MODEL}+domains:ratings*links:ratings"),
            ("a+b", "a@0123456789ab+b@ba9876543210"),
            ("a@0123456789ab+b@ba9876543210", "a@0123456789ab+b@ba9876543210+domains:ratings"),
        ],
    )
    def test_a_pin_names_the_model_or_its_digest(self, pin: str, model: str) -> None:
        assert Catalogue(LABELS, model, ("en",)).label(f"TOXICITY@{pin}") == "toxicity"

    @pytest.mark.parametrize(
        ("pin", "model"),
        [
            ("", MODEL),
            ("6", MODEL),
            ("01234", MODEL),
            ("word", MODEL),
            ("other@012345", MODEL),
            ("a", "a@012345678+b@876543210"),
        ],
    )
    def test_another_version_is_unknown(self, pin: str, model: str) -> None:
        with pytest.raises(ApiError, match=f"Unknown requested attribute: TOXICITY@{pin}"):
            Catalogue(LABELS, model, ("en",)).label(f"TOXICITY@{pin}")

    def test_what_is_served_is_listed_with_its_version(self, server: str) -> None:
        listed = httpx.get(f"{server}/v1alpha1/attributes").json()
        assert listed["model"] == MODEL
        assert listed["languages"] == ["en"]
        assert {entry["name"]: entry["aliases"] for entry in listed["attributes"]} == {
            "TOXICITY": ["TOXICITY_EXPERIMENTAL"],
            "INSULT": ["INSULT_EXPERIMENTAL"],
            "PROFANITY": ["PROFANITY_EXPERIMENTAL", "OBSCENE"],
            "REASONING_EXPERIMENTAL": ["REASONING"],
        }
        for entry in listed["attributes"]:
            for name in (entry["name"], *entry["aliases"]):
                analyze(server, asked("Two words", f"{name}@{entry['version']}"))

    @pytest.mark.parametrize("name", BUNDLED.values())
    def test_a_bundled_model_names_its_card(self, server: str, name: str) -> None:
        (entry,) = Catalogue(("threat",), f"{name}@0123456789ab", ("en",)).to_json()["attributes"]
        card = httpx.get(server + entry["card"])
        assert card.headers["content-type"].startswith("text/markdown")
        assert card.text.startswith(f"# {name}")

    def test_there_is_no_other_card(self, server: str) -> None:
        assert httpx.get(f"{server}/v1alpha1/cards/nobody").json()["error"]["status"] == "NOT_FOUND"

    def test_a_classifier_tells_its_labels_and_languages(self, tmp_path: Path) -> None:
        labels = ("threat", "civic", "respect")
        classifier = HarmClassifier.load(save_classifier(tmp_path / "c", ["kind", "words"], labels))
        answer = call(application(classifier), ANALYZE, asked("kind words", "THREAT", "RESPECT_EXPERIMENTAL"))
        expected = classifier.score(["kind words"]).probability[0]
        found = [entry["summaryScore"]["value"] for entry in answer.json()["attributeScores"].values()]
        assert found == [float(str(expected[0])), float(str(expected[2]))]
        assert "LANGUAGE_NOT" in call(application(classifier), ANALYZE, asked(GERMAN, "THREAT")).text


class TestDiscovery:
    def test_its_addresses_are_those_of_the_request(self, server: str) -> None:
        found = httpx.get(f"{server}/$discovery/rest", params={"version": "v1alpha1"}).json()
        assert found["rootUrl"] == found["baseUrl"] == f"{server}/"
        other = httpx.get(f"{server}/$discovery/rest", headers={"Host": "perspective.example:8443"}).json()
        assert other["rootUrl"] == "http://perspective.example:8443/"

    @pytest.mark.parametrize("host", ['a"b', "a/b", "a b", "a:port", "user@host", "<script>", "[::1", ""])
    def test_a_host_that_is_none_is_refused(self, server: str, host: str) -> None:
        answer = httpx.get(f"{server}/$discovery/rest", headers={"Host": host})
        assert answer.status_code == 400

    def test_there_is_no_other_version(self, server: str) -> None:
        answer = httpx.get(f"{server}/$discovery/rest", params={"version": "v2"})
        assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")

    def test_every_schema_that_is_named_is_there(self) -> None:
        document = discovery_document("http://localhost/")
        named = set()

        def look(value: Any) -> None:
            for one in (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            ):
                look(one)
            if isinstance(value, dict) and isinstance(value.get("$ref"), str):
                named.add(value["$ref"])

        look(document)
        assert named == set(document["schemas"])
        assert {"AnalyzeCommentRequest", "SuggestCommentScoreResponse", "SpanScore", "Context"} <= named

    def test_a_batch_goes_where_the_key_goes(self) -> None:
        assert discovery_document("http://h/", "a/b&c")["batchPath"] == "batch?key=a%2Fb%26c"

    def test_openapi_describes_requests_and_answers(self) -> None:
        path = application().openapi()["paths"][ANALYZE]["post"]
        schema = path["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["properties"]) >= {"comment", "requestedAttributes", "spanAnnotations"}
        assert (
            "AnalyzeCommentResponse"
            in path["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        )
