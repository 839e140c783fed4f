"""Which attributes are served, in which version and languages: learned from the scorer itself."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from models.bundled import BUNDLED
from models.language import SCRIPTS, UNKNOWN_SCRIPT, detected, languages_of
from models.scores import READING_VERSION, Content
from models.taxonomy import LABELS, Label, label
from reranker.serving.perspective_errors import (
    language_detection_failed,
    language_not_supported,
    unavailable,
    unknown_attribute,
)
from reranker.serving.service import Service

EXPERIMENTAL = "_EXPERIMENTAL"
OTHER_NAMES = {"OBSCENE": "profanity"}
"""Attributes under another name: people labelled "obscene" what the taxonomy calls profanity."""

_PROBE = "This is a sentence."
_SHORTEST_DIGEST = 6
_RATINGS = re.compile(r"\+domains:[^+*]*|\*links:.*$")


@dataclass(frozen=True)
class Catalogue:
    """What a scorer serves: its labels, its name (such as "bundled-en@1f2e3d4c5b6a") and its languages."""

    labels: tuple[str, ...]
    model: str
    languages: tuple[str, ...]

    @cached_property
    def names(self) -> Mapping[str, Label]:
        """The label of every name that a request may use."""
        served = {entry.name: entry for entry in LABELS if entry.name in self.labels}
        return {name: served[found] for name, found in public_names().items() if found in served}

    @cached_property
    def version(self) -> str:
        """The model without the ratings of links, which no attribute reads."""
        return _RATINGS.sub("", self.model)

    def label(self, requested: str) -> str:
        """The label of NAME or NAME@VERSION.

        Raises:
            ApiError: the attribute, or this version of it, is not served.
        """
        name, _, version = requested.partition("@")
        if name not in self.names or (requested != name and not self._is_version(version)):
            raise unknown_attribute(requested)
        return self.names[name].name

    def language(self, text: str, stated: Sequence[str], first: str) -> tuple[str, str]:
        """The served language in which a text is to be read, and the detected one.

        What cannot be decided counts as served: a stated language, else the first one that is. Of several
        stated languages the text is read in a served one unless it clearly is in another.

        Raises:
            ApiError: it cannot be detected, or is not served; the error names the attribute `first`.
        """
        found = detected(text, self.languages)
        named = [code for code in languages_of([""] * len(stated), stated, self.languages) if code]
        served = [code for code in named if code in self.languages]
        if served and (len(served) == len(named) or found is None or found in self.languages):
            return (found if found in served else served[0]), found or served[0]
        if not named and found == UNKNOWN_SCRIPT:
            raise language_detection_failed()
        if named or not (found is None or found in self.languages):
            raise language_not_supported(first, stated if named else (), (found,) if found else ())
        return found or self.languages[0], found or self.languages[0]

    def to_json(self) -> dict[str, object]:
        """The answer of GET /v1alpha1/attributes."""
        listed: dict[str, list[str]] = {}
        for name, entry in self.names.items():
            listed.setdefault(entry.name, []).append(name)
        card = f"/v1alpha1/cards/{self.card}" if self.card else None
        return {
            "model": self.model,
            "reading": READING_VERSION,
            "languages": list(self.languages),
            "attributes": [
                {
                    "name": names[0],
                    "aliases": names[1:],
                    "label": found,
                    "definition": label(found).definition,
                    "version": self.version,
                    "card": card,
                }
                for found, names in listed.items()
            ],
        }

    @property
    def card(self) -> str | None:
        """The name of the bundled classifier whose card tells of the scores; None for another one."""
        name = self.version.partition("@")[0]
        return name if name in BUNDLED.values() and "+" not in self.version else None

    def _is_version(self, version: str) -> bool:
        """Whether this is the model, by its name or its digest, or the beginning of the digest."""
        if "+" in self.version:
            names = [part.partition("@")[0] for part in self.version.split("+")]
            return version in {self.version, "+".join(names)}
        name, _, digest = self.version.partition("@")
        given, _, start = version.rpartition("@")
        is_digest = len(start) >= _SHORTEST_DIGEST and digest.startswith(start) and given in {"", name}
        return version == name or is_digest


def public_names() -> dict[str, str]:
    """The label of every attribute name that the taxonomy knows, served or not.

    A name has a twin with or without _EXPERIMENTAL, as attributes had before and after they left trial.
    """
    official = {entry.public_name: entry.name for entry in LABELS if entry.public_name}
    twins = {
        name.removesuffix(EXPERIMENTAL) if name.endswith(EXPERIMENTAL) else name + EXPERIMENTAL: found
        for name, found in official.items()
    }
    return official | twins | OTHER_NAMES


class Learner:
    """Learns the catalogue at the first request, and keeps it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._found: Catalogue | None = None
        self._lock = asyncio.Lock()

    async def catalogue(self) -> Catalogue:
        """What the scorer serves: one sentence is scored as if it were in every language.

        Raises:
            ApiError: the scorer leaves a plain sentence unscored in every language.
            BusyError: the queue of the scorer is full.
            ScorerError: there is no scorer, or it failed.
        """
        if self._found is None:
            async with self._lock:
                if self._found is None:
                    self._found = await self._learned()
        return self._found

    async def _learned(self) -> Catalogue:
        codes = list(dict.fromkeys(["en", *(code for script in SCRIPTS.values() for code in script)]))
        content = Content([_PROBE] * len(codes), codes, [None] * len(codes))
        scores = await self._service.score(content)
        languages = tuple(code for code, scored in zip(codes, scores.scored, strict=True) if scored)
        found = Catalogue(scores.labels, scores.model, languages)
        if found.names and not languages:
            raise unavailable("The model scores nothing.")
        await asyncio.to_thread(detected, "uno dos tres cuatro", languages)  # loads the detector
        return found
