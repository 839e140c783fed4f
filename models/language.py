"""Language detection, limited to what is served.

The question is not which language a text is in but whether a classifier may score it, so the served
languages have a prior: a text is called foreign only on evidence, and what cannot be decided (a name, a
laugh, two words of slang) counts as served. A script that no served language is written in settles most
foreign texts, English function words settle most English ones; only the rest is asked of py3langid.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import regex
from numpy.typing import NDArray
from py3langid.langid import MODEL_FILE, LanguageIdentifier

MARGIN = 15.0  # nats by which a foreign language has to beat the best served one
MARGIN_PER_WORD = 5.0  # nats added by each distinct English function word, where English is served
MIN_WORDS = 3  # fewer different words in Latin script are not judged: names and exclamations have no language
READ = 200  # characters of words that the detector reads; it is linear in them

_LATIN = (
    "en af az ca cs cy da de es et eu fi fr ga gl hr hu id is it lt lv "
    "ms nl no pl pt ro sk sl sq sv sw tl tr vi"
)
SCRIPTS = {  # languages (ISO 639-1) by the first word of their letters' Unicode names
    "LATIN": _LATIN.split(),
    "CYRILLIC": ["ru", "uk", "be", "bg", "kk", "mk", "sr"],
    "ARABIC": ["ar", "fa", "ur"],
    "DEVANAGARI": ["hi", "mr", "ne"],
    "HAN": ["zh", "ja"],
    "HANGUL": ["ko"],
    "GREEK": ["el"],
    "HEBREW": ["he"],
    "THAI": ["th"],
    "BENGALI": ["bn"],
    "GUJARATI": ["gu"],
    "GURMUKHI": ["pa"],
    "KANNADA": ["kn"],
    "MALAYALAM": ["ml"],
    "SINHALA": ["si"],
    "TAMIL": ["ta"],
    "TELUGU": ["te"],
    "ARMENIAN": ["hy"],
    "GEORGIAN": ["ka"],
    "ETHIOPIC": ["am"],
    "KHMER": ["km"],
    "LAO": ["lo"],
    "MYANMAR": ["my"],
}
UNKNOWN_SCRIPT = "und"  # BCP 47: undetermined, in a script of no language above
_SYLLABIC = frozenset({"HAN", "HANGUL"})  # a letter is a syllable or more, so it counts twice
_LOOKALIKE = frozenset({"CYRILLIC", "GREEK", "ARMENIAN"})  # disguise Latin letters inside a word
_SCRIPT_OF = {"CJK": "HAN", "HIRAGANA": "HAN", "KATAKANA": "HAN", "KATAKANA-HIRAGANA": "HAN"}

# Frequent in English and rare elsewhere: "was", "in", "to", "is", "no" or "for" are words of others too.
_FUNCTION_WORDS = (
    "the and of you your yours you're youre that this these those there their they they're them then "
    "than with what what's whats when where which who why how would should could will about because "
    "from have haven't been being people think know like get getting going gonna wanna gotta said "
    "right really never always something anything everyone someone nothing stop need see look much "
    "very only even still back now into after before again other many some any every it it's its i'm "
    "i've i'll i'd don't dont can't cant isn't isnt didn't didnt doesn't doesnt won't ain't aint "
    "that's thats he's she's she his him my our not just out but if by were had make want does ur "
    "yall y'all tryna imma cuz fucking bitches hoes nigga niggas"
)
_ENGLISH = frozenset(_FUNCTION_WORDS.split())
# Written alike in many languages: no evidence for any.
_NEUTRAL = re.compile(
    r"(?:l+o+l+z*|lmf?a+o+|rofl|om+f?g+|wtf|stfu|x+d+|o+k+|gg+|(?:[haje]{2}){2,}\w?|(\w)\1{2,}|(\w\w+)\2{2,}\w?)$"
)
_APART = re.compile(r"[@#]\w+|\w*\d\w*")  # handles, hashtags, and words with digits, leetspeak among them
_ASCII_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}ー]+"
    r"|[\p{L}--[\p{Han}\p{Hiragana}\p{Katakana}]][[\p{L}\p{M}]--[\p{Han}\p{Hiragana}\p{Katakana}]]*"
    r"(?:'\p{L}+)*",
    regex.VERSION1,
)


def detected(text: str, served: Sequence[str] = ("en",)) -> str | None:
    """The ISO 639-1 code of a text's language, None where it cannot be decided, "und" by script alone.

    Languages in `served` are preferred: any other needs clear evidence. A served language that the
    detector does not know leaves every text undecided.
    """
    if not all(any(code in codes for codes in SCRIPTS.values()) for code in served):
        return None
    words = _words(text)
    script = _script(words)
    if script == "LATIN":
        return _latin(words, served)
    if script is None:
        return None
    codes = SCRIPTS.get(script, [UNKNOWN_SCRIPT])
    return codes[0] if len(codes) == 1 else _closest(words, codes, served, MARGIN)


def languages_of(
    texts: Sequence[str], stated: Sequence[str | None], served: Sequence[str]
) -> list[str | None]:
    """The language code of every text: the stated one where there is one, else the detected one.

    A stated language is a BCP 47 tag, of which the primary subtag counts ("en" of "en-GB"); tags that
    name no language ("und", "mul", "zxx", "mis", or nothing that is a tag) count as not stated.

    Raises:
        ValueError: there are not as many stated languages as texts.
    """
    if len(texts) != len(stated):
        raise ValueError(f"stated: expected {len(texts)} languages, one per text, got {len(stated)}")
    return [_primary(tag) or detected(text, served) for text, tag in zip(texts, stated, strict=True)]


def is_served(languages: Sequence[str | None], served: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each text may be scored, (n,): its language is served, or could not be decided."""
    return np.array([code is None or code in served for code in languages], dtype=np.bool_)


def _primary(tag: str | None) -> str | None:
    code = (tag or "").strip().lower().replace("_", "-").split("-")[0]
    named = code.isascii() and code.isalpha() and len(code) in {2, 3}
    return code if named and code not in {"und", "mul", "zxx", "mis"} else None


def _words(text: str) -> list[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    plain = _APART.sub(" ", text).lower()
    found: list[str] = (_ASCII_WORD if plain.isascii() else _WORD).findall(plain)
    return found


def _script(words: list[str]) -> str | None:
    """The script of most letters; None without letters.

    Single letters of other scripts are parts of drawn faces, and letters that look Latin between Latin
    ones a disguise: neither counts.
    """
    letters: Counter[str] = Counter()
    for word in words:
        if word.isascii():
            letters["LATIN"] += len(word)
            continue
        scripts = Counter(map(_letter_script, word))
        script, count = scripts.most_common(1)[0]
        if script in _LOOKALIKE and scripts["LATIN"]:
            script = "LATIN"
        if count > 1 or script == "LATIN":
            letters[script] += len(word) * (2 if script in _SYLLABIC else 1)
    return letters.most_common(1)[0][0] if letters else None


@lru_cache(maxsize=4096)
def _letter_script(letter: str) -> str:
    name = unicodedata.name(letter, "").split(" ")[0]
    return _SCRIPT_OF.get(name, name)


def _latin(words: list[str], served: Sequence[str]) -> str | None:
    english = len(_ENGLISH.intersection(words))
    if english > 1 and english * 8 >= len(words):
        return "en"
    words = [word for word in words if not _NEUTRAL.match(word)]
    if len(set(words)) < MIN_WORDS:
        return None
    margin = MARGIN + MARGIN_PER_WORD * english * ("en" in served)
    return _closest(words, SCRIPTS["LATIN"], served, margin)


def _closest(words: list[str], codes: Sequence[str], served: Sequence[str], margin: float) -> str | None:
    """The likeliest of the codes; None where a foreign one beats the served ones by less than `margin`."""
    ranked = [pair for pair in _identifier().rank(" ".join(words)[:READ]) if pair[0] in codes]
    code, score = ranked[0]
    own = next((found for other, found in ranked if other in served), None)
    return code if code in served or own is None or score - own >= margin else None


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages([code for codes in SCRIPTS.values() if len(codes) > 1 for code in codes])
    return identifier
