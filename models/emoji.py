"""Emoji in words, since to the vocabularies of many text encoders every emoji is the same unknown."""

import unicodedata
from functools import lru_cache

import regex

_EMOJI = regex.compile(
    r"\p{Extended_Pictographic}\p{Emoji_Modifier}*(?:\u200d(?=\p{Extended_Pictographic}))?"
)
_NOT_SAID = regex.compile(r"\b(?:face|sign|symbol|with|heavy|black|white|of|emoji)\b|\s+")


def with_emoji_words(text: str) -> str:
    """The text with each emoji replaced by what it shows, in lower case: "you \U0001f412" is "you monkey".

    The words are those of its Unicode name, without "face", "sign" and the colours of its drawing; skin
    tones are left out. A character without a name in this Python's Unicode tables stays. A text of ASCII
    comes back as it is.
    """
    return text if text.isascii() else " ".join(_EMOJI.sub(_named, text).split())


def _named(found: "regex.Match[str]") -> str:
    return f" {_name(found.group()[0])} "


@lru_cache(maxsize=4096)
def _name(char: str) -> str:
    if char == "\U0001f52a":
        return "knife"  # its Unicode name is the Japanese word
    words = _NOT_SAID.sub(" ", unicodedata.name(char, "").lower().replace("-", " ")).split()
    return " ".join(words) or char
