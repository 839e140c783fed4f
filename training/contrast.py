"""Sentences written for this project: pairs of a harmful and a harmless text that share most words.

The sentences, templates and slot fillers are the TOML files in `contrast/`. In a template `{many}`, `{one}`
and `{adj}` name an identity group and any other `{slot}` a list in slots.toml; both sides of a pair are
filled alike. All fillings of one template have one link, so that no split sees a template on both sides.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.normalise import normalised
from training.corpora import Rows

DATA = Path(__file__).parent / "contrast"
DECIDED = ("toxicity", "severe_toxicity", "identity_attack", "insult", "profanity", "threat")
# Swearing that harms nobody is called toxic by many annotators: it counts for less.
SWEARING_WEIGHT = 0.5
GROUP_FILLS = 16
SLOT_FILLS = 6

_SLOT = re.compile(r"\{(\w+?)(\d?)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aei]|o(?!ne\b)|u[gnp](?!i))")
_GROUP_FORMS = frozenset({"many", "one", "adj"})


@dataclass(frozen=True)
class Pair:
    """A harmful and a harmless template; `harmful` and `harmless` are (kind of label, text) or None."""

    functionality: str
    number: int
    harmful: tuple[str, str] | None
    harmless: tuple[str, str] | None

    @property
    def sides(self) -> list[tuple[str, str]]:
        """The sides that there are."""
        return [side for side in (self.harmful, self.harmless) if side is not None]


@dataclass(frozen=True)
class Sentence:
    """One text: the targets that it decides, the identity group it names or "", and its template."""

    text: str
    target: dict[str, float]
    aspect: str
    link: str


def _load(name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / name).read_text("utf-8"))


def pairs() -> list[Pair]:
    """Every pair of `pairs_*.toml`, in file order.

    Raises:
        ValueError: a line has no "|" between its two sides.
    """
    found: list[Pair] = []
    for file in sorted(DATA.glob("pairs_*.toml")):
        for entry in _load(file.name)["set"]:
            for line in entry["pairs"].strip().splitlines():
                sides = [side.strip() for side in line.split("|")]
                if len(sides) != 2:
                    raise ValueError(f"{file.name}: expected 'harmful | harmless', got {line!r}")
                harmful, harmless = (
                    (entry[kind], text) if text else None
                    for kind, text in zip(("harmful", "harmless"), sides, strict=True)
                )
                found.append(Pair(entry["functionality"], len(found), harmful, harmless))
    return found


class _Fillings:
    """Slot fillers dealt like cards, so that each group and filler is used about equally often."""

    def __init__(self, rng: np.random.Generator) -> None:
        slots = _load("slots.toml")
        self.rng = rng
        self.lists: dict[str, list[str]] = slots["slot"]
        self.groups: list[dict[str, Any]] = slots["group"]
        self._dealt: dict[str, list[int]] = {}

    def deal(self, name: str, n: int) -> int:
        """The next card of the pack `name`, of n cards."""
        if not self._dealt.get(name):
            self._dealt[name] = self.rng.permutation(n).tolist()
        return self._dealt[name].pop()

    def fill(self, sides: list[str]) -> tuple[list[str], dict[str, Any]]:
        """The sides with their slots filled alike, and the group that was named (empty if none)."""
        names = {match.group(0): match.groups() for side in sides for match in _SLOT.finditer(side)}
        group: dict[str, Any] = {}
        if any(name in _GROUP_FORMS for name, _ in names.values()):
            group = self.groups[self.deal("group", len(self.groups))]
        values = {}
        for slot, (name, _) in names.items():
            filler = group if name in _GROUP_FORMS else self.lists
            chosen = filler[name]
            values[slot] = chosen if isinstance(chosen, str) else chosen[self.deal(name, len(chosen))]
        return [_filled(side, values) for side in sides], group

    def dressed(self, text: str) -> str:
        """The text with an opening, a further sentence or careless writing that say nothing of its class."""
        chance = self.rng.random(4)
        if chance[0] < 0.22:
            opening = self.lists["opening"][self.deal("opening", len(self.lists["opening"]))]
            text = f"{opening} {text}"
        if chance[1] < 0.3:
            closing = self.lists["closing"][self.deal("closing", len(self.lists["closing"]))]
            text = f"{text} {closing}"
        if chance[2] < 0.28:
            text = text.lower()
        return text.rstrip(".") if chance[3] < 0.3 else text


def _filled(template: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        word = values[match.group(0)]
        before = template[: match.start()]
        begins = not before or before.endswith((". ", "! ", "? "))
        return word[:1].upper() + word[1:] if begins else word

    return _ARTICLE.sub(r"\1n ", _SLOT.sub(value, template))


def _target(
    kind: dict[str, float], text: str, group: dict[str, Any], swearing: re.Pattern[str]
) -> dict[str, float]:
    target = {name: float(kind.get(name, np.nan)) for name in DECIDED}
    target["profanity"] = float(swearing.search(text) is not None)
    if "*" in text:
        target["profanity"] = np.nan
    target["profanity"] = float(kind.get("profanity", target["profanity"]))
    # Whether a party or a body size is an identity is arguable.
    if group.get("arguable") and target["identity_attack"] == 1:
        target["identity_attack"] = np.nan
    return target


def _paired(fillings: _Fillings) -> Iterator[Sentence]:
    kinds = _load("labels.toml")
    swearing = re.compile(kinds.pop("swearing"), re.IGNORECASE)
    for pair in pairs():
        texts = [text for _, text in pair.sides]
        names = {match.group(1) for text in texts for match in _SLOT.finditer(text)}
        fills = GROUP_FILLS if names & _GROUP_FORMS else SLOT_FILLS if names else 1
        for _ in range(fills):
            filled, group = fillings.fill(texts)
            for (kind, _), text in zip(pair.sides, filled, strict=True):
                yield Sentence(
                    fillings.dressed(text) if names else text,
                    _target(kinds[kind], text, group, swearing),
                    str(group.get("name", "")),
                    f"contrast/{pair.functionality}/{pair.number}",
                )


def _single(fillings: _Fillings) -> Iterator[Sentence]:
    for file in sorted(DATA.glob("label_*.toml")):
        for name, sides in _load(file.name).items():
            for side, value in (("present", 1.0), ("absent", 0.0)):
                for number, line in enumerate(sides[side].strip().splitlines()):
                    for _ in range(3 if _SLOT.search(line) else 1):
                        (text,), group = fillings.fill([line.strip()])
                        link = f"contrast/{name}/{side}/{number}"
                        yield Sentence(text, {name: value}, str(group.get("name", "")), link)


def contrast_rows(rng: np.random.Generator) -> Rows:
    """The distinct sentences, normalised, with the targets each decides; equal for equal states of `rng`."""
    fillings = _Fillings(rng)
    seen: dict[str, Sentence] = {}
    for sentence in [*_paired(fillings), *_single(fillings)]:
        seen.setdefault(normalised(sentence.text), sentence)
    kept = list(seen.values())
    labels = sorted({name for sentence in kept for name in sentence.target})
    target = {name: np.array([entry.target.get(name, np.nan) for entry in kept]) for name in labels}
    weight = {name: np.ones(len(kept)) for name in labels}
    weight["toxicity"][(target["profanity"] == 1) & (target["toxicity"] == 0)] = SWEARING_WEIGHT
    return Rows(
        text=list(seen),
        target=target,
        weight=weight,
        aspect=[entry.aspect for entry in kept],
        link=[entry.link for entry in kept],
    )
