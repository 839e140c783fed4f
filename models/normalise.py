"""The one text normalisation, the same in training and at inference.

Handles, links, e-mail addresses and the masks that data sets put in their place become one form each,
so that a classifier cannot learn which data set a text came from by its masking style.
"""

import html
import re
import unicodedata

_URL = re.compile(r"(?:https?://|www\.)\S+|\b(?:pic\.twitter\.com|t\.co|bit\.ly)/\S+", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_MASK = re.compile(r"[\[<{](?:url|link|e-?mail|ip|phone|number|repeat|allcaps)[\]>}]", re.IGNORECASE)
_BARE_MASK = re.compile(r"\b(?:URL|HTTPURL)\b")
_HANDLE = re.compile(r"(?:(?:(?<!\w)@\w+|[\[<](?:user|name|mention)[\]>])[\s:,]*)+", re.IGNORECASE)
_TAG = re.compile(r"</?(?:a|b|i|p|br|div|span|em|strong|u)\b[^<>]{0,200}>", re.IGNORECASE)
_RETWEET = re.compile(r"^\W*RT\b[\s:]*")
_SPACE = re.compile(r"\s+")
_FINAL_PUNCTUATION = re.compile(r"[\s.!?…]+$")


def normalised(text: str) -> str:
    """The text as every model of the project reads it; may be empty.

    Links and e-mail addresses are removed, a run of handles becomes one "@user"; HTML entities are
    decoded and white space is collapsed. Case is kept.
    """
    text = unicodedata.normalize("NFKC", html.unescape(text))
    for pattern in (_URL, _EMAIL, _MASK, _BARE_MASK, _TAG):
        text = pattern.sub(" ", text)
    text = _HANDLE.sub(" @user ", _RETWEET.sub("", text))
    return _SPACE.sub(" ", text).strip()


def without_style(text: str) -> str:
    """The normalised text in lower case without final punctuation.

    For training sets in which such style alone separates the classes (see the no-words probe).
    """
    return _FINAL_PUNCTUATION.sub("", normalised(text).lower())


def is_mostly_latin(text: str) -> bool:
    """Whether more than half of the text's letters are Latin; False where it has no letters."""
    letters = [char for char in text if char.isalpha()]
    latin = sum(char.isascii() or unicodedata.name(char, "").startswith("LATIN") for char in letters)
    return latin * 2 > len(letters)
