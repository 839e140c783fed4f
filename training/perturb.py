# ruff: noqa: RUF001 - look-alike letters are the subject
"""Evasions and sloppy typing as functions of a text, for augmentation and for the robustness table.

Each changes the words that carry the meaning (offensive words of a short list always, other words of five
letters or more about one time in three, and at least one word) and leaves the rest as it is.
"""

import re
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator

_WORD = re.compile(r"(?<![\w@#/.])[A-Za-z]{2,}(?![\w@/])")
_OFFENSIVE = re.compile(
    r"fuck|shit|bitch|cunt|nigg|fag|ass(?:es|hole|hat)?s?$|puss(?:y|ies)|whore|slut|dick|cock|bastard|retard"
    r"|idiot|stupid|moron|dumb|kill|rape|die$|hate|trash|scum|pig|loser|ugly|disgust|crap|damn",
    re.IGNORECASE,
)
_SHARE = 0.35
_LEET = {"a": "4@", "e": "3", "i": "1!", "o": "0", "s": "5$", "t": "7"}
_LOOKS_LIKE = {
    "a": "а", "c": "с", "d": "ԁ", "e": "е", "h": "һ", "i": "і", "j": "ј", "o": "о", "p": "р", "q": "ԛ",
    "s": "ѕ", "w": "ԝ", "x": "х", "y": "у", "A": "А", "B": "В", "C": "С", "E": "Е", "H": "Н", "I": "І",
    "K": "К", "M": "М", "O": "О", "P": "Р", "T": "Т", "X": "Х", "S": "Ѕ", "J": "Ј",
}  # fmt: skip
_EMOJI = {
    "ass": "🍑", "angry": "😠", "animal": "🐒", "black": "⬛", "bomb": "💣", "clown": "🤡", "crazy": "🤪",
    "dead": "💀", "death": "💀", "dick": "🍆", "die": "💀", "dog": "🐕", "fire": "🔥", "fuck": "🖕",
    "fucking": "🖕", "gay": "🌈", "gun": "🔫", "hate": "😡", "hell": "🔥", "idiot": "🤡", "idiots": "🤡",
    "kill": "🔪", "laugh": "😂", "love": "❤", "money": "💰", "monkey": "🐒", "muslim": "☪", "pig": "🐷",
    "pigs": "🐷", "pussy": "🐱", "rat": "🐀", "rats": "🐀", "shit": "💩", "sick": "🤢", "snake": "🐍",
    "stupid": "🤡", "trash": "🗑", "ugly": "🤮", "white": "⬜", "women": "🚺",
}  # fmt: skip
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    key: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in _KEYS for i, key in enumerate(row)
}  # keys beside each other in one row
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\u00ad\ufeff"
_SENTENCE_MARK = re.compile(r"(?<=\w)[.,;:!?'\"]+(?=\s|$)")


def perturbed(text: str, name: str, rng: Rng) -> str:
    """The text under the perturbation called `name`; empty text stays empty.

    Raises:
        ValueError: there is no such perturbation.
    """
    if name not in PERTURBATIONS:
        raise ValueError(f"perturbation: expected one of {', '.join(PERTURBATIONS)}, got {name!r}")
    return PERTURBATIONS[name](text, rng)


def _on_words(change: Callable[[str, Rng], str]) -> Callable[[str, Rng], str]:
    def apply(text: str, rng: Rng) -> str:
        words = list(_WORD.finditer(text))
        chosen = [_OFFENSIVE.match(m[0]) or (len(m[0]) >= 5 and rng.random() < _SHARE) for m in words]
        if words and not any(chosen):
            chosen[int(np.argmax([len(m[0]) for m in words]))] = True
        parts, end = [], 0
        for found, picked in zip(words, chosen, strict=True):
            parts += [text[end : found.start()], change(found[0], rng) if picked else found[0]]
            end = found.end()
        return "".join([*parts, text[end:]])

    return apply


def _leet(word: str, rng: Rng) -> str:
    places = [i for i, char in enumerate(word) if char.lower() in _LEET]
    for i in _some(places, rng, share=0.6):
        word = word[:i] + _pick(_LEET[word[i].lower()], rng) + word[i + 1 :]
    return word


def _spaced(word: str, rng: Rng) -> str:
    return _pick(" .-*_", rng).join(word) if rng.random() < 0.8 else " ".join((word[:1], word[1:]))


def _homoglyphs(word: str, rng: Rng) -> str:
    places = [i for i, char in enumerate(word) if char in _LOOKS_LIKE]
    if len(places) == len(word):  # one Latin letter stays
        places = places[1:]
    for i in _some(places, rng, share=0.5):
        word = word[:i] + _LOOKS_LIKE[word[i]] + word[i + 1 :]
    return word


def _zero_width(word: str, rng: Rng) -> str:
    for i in sorted(_some(list(range(1, len(word))), rng, share=0.4), reverse=True):
        word = word[:i] + _pick(_ZERO_WIDTH, rng) + word[i:]
    return word


def _emoji(text: str, rng: Rng) -> str:
    del rng  # which emoji stands for a word is fixed
    return _WORD.sub(lambda found: _EMOJI.get(found[0].lower(), found[0]), text)


def _repeated(word: str, rng: Rng) -> str:
    places = [i for i, char in enumerate(word) if char.lower() in "aeiouy"] or [len(word) - 1]
    i = places[int(rng.integers(len(places)))]
    return word[:i] + word[i] * int(rng.integers(3, 7)) + word[i + 1 :]


def _masked(word: str, rng: Rng) -> str:
    if len(word) < 3:
        return word
    i = next((i for i, char in enumerate(word) if i and char.lower() in "aeiouy"), 1)
    end = min(len(word) - 1, i + int(rng.integers(1, 3)))
    return word[:i] + "*" * (end - i) + word[end:]


def _typo(word: str, rng: Rng) -> str:
    if len(word) < 3:
        return word
    i, kind = int(rng.integers(1, len(word) - 1)), int(rng.integers(3))
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if kind == 1:
        return word[:i] + word[i + 1 :]
    return word[:i] + _pick(_NEIGHBOURS[word[i].lower()], rng) + word[i + 1 :]


def _punctuation(text: str, rng: Rng) -> str:
    """One of: marks dropped, dots put between words, letters masked."""
    kind = int(rng.integers(3))
    if kind == 0:
        return _SENTENCE_MARK.sub("", text)
    if kind == 1:
        return re.sub(" ", lambda _: _pick(("...", ", ", " ", " "), rng), text)
    return _on_words(_masked)(text, rng)


def _random_case(text: str, rng: Rng) -> str:
    upper = rng.random(len(text)) < 0.5
    return "".join(char.upper() if up else char.lower() for char, up in zip(text, upper, strict=True))


def _any_of(word: str, rng: Rng) -> str:
    changes = (_leet, _spaced, _homoglyphs, _zero_width, _repeated, _masked, _typo)
    return changes[int(rng.integers(len(changes)))](word, rng)


def _some(places: list[int], rng: Rng, *, share: float) -> list[int]:
    """About this share of the places, at least one where there is one."""
    if not places:
        return []
    n = max(1, int(rng.binomial(len(places), share)))
    return [int(i) for i in rng.choice(places, size=n, replace=False)]


def _pick(options: str | tuple[str, ...], rng: Rng) -> str:
    return options[int(rng.integers(len(options)))]


PERTURBATIONS: dict[str, Callable[[str, Rng], str]] = {
    "leetspeak": _on_words(_leet),
    "spacing": _on_words(_spaced),
    "homoglyphs": _on_words(_homoglyphs),
    "zero_width": _on_words(_zero_width),
    "emoji_substitution": _emoji,
    "repeated_letters": _on_words(_repeated),
    "all_caps": lambda text, _: text.upper(),
    "lower_case": lambda text, _: text.lower(),
    "random_case": _random_case,
    "punctuation": _punctuation,
    "typos": _on_words(_typo),
    "mixed": _on_words(_any_of),
}
