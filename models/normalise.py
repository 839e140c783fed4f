"""The one text normalisation, the same in training and at inference.

Handles, links, e-mail addresses and the masks that data sets put in their place become one form each,
so that a classifier cannot learn which data set a text came from by its masking style. Spellings that hide
a word from a classifier are undone where that is safe: a plain text comes out as it went in, and a rule
that could change one (digits for letters, stars for letters) reads closed patterns only.

Most texts hold none of this, so every step stands behind a cheap test of whether it can apply.
"""

import html
import re
import unicodedata

_LATIN = "A-Za-zÀ-ÖØ-öø-ɏ"

_AMPERSAND = re.compile(r"&(?:(?:amp|#38|#x26);)+", re.IGNORECASE)  # escaped more than once
_URL = re.compile(r"(?:https?://|www\.)\S+|\b(?:pic\.twitter\.com|t\.co|bit\.ly)/\S+", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,255}\.[\w.-]+")
_MASK = re.compile(r"[\[<{](?:url|link|e-?mail|ip|phone|number|repeat|allcaps)[\]>}]", re.IGNORECASE)
_BARE_MASK = re.compile(r"\b(?:URL|HTTPURL)\b")
_HANDLE = re.compile(r"(?:(?:(?<!\w)@\w+|[\[<](?:user|name|mention)[\]>])[\s:,]*)+", re.IGNORECASE)
_TAG = re.compile(r"</?(?:a|b|i|p|br|div|span|em|strong|u)\b[^<>]{0,200}>", re.IGNORECASE)
_RETWEET = re.compile(r"(?:\W*\bRT\b[\s:]*)+")
_FINAL_PUNCTUATION = re.compile(r"[\s.!?…]+$")

# Characters that show nothing: soft hyphen, zero-width, bidirectional, variation selectors, fillers, tags.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef]+"
)
# A joiner between two emoji or two letters of another script carries meaning; beside Latin it does not.
_JOINER = re.compile("(?<![^\x00-\u024f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\u024f])")
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f"
# Struck out, underlined or enclosed letters, and two or more marks that no accented letter absorbed.
_ZALGO = re.compile(f"[\u0332-\u0338\u20dd-\u20e4]+|(?<=[{_LATIN}\u1e00-\u1eff])[{_MARKS}]{{2,}}")

_LOOKS_LIKE = {
    "аеорсухіјѕԁԛԝһѵӏкмтнвпгёї": "aeopcyxijsdqwhvlkmthbnrei",
    "АВЕКМНОРСТУХЅІЈҮԌѴЁЇ": "ABEKMHOPCTYXSIJYGVEI",
    "αεικνορτυχωηγσβμάέίόύϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ": "aeikvoptuxwnyobuaeioucjABEZHIKMNOPTYXC",
    "օսոհցյ": "ounhgj",
    "🅐🅑🅒🅓🅔🅕🅖🅗🅘🅙🅚🅛🅜🅝🅞🅟🅠🅡🅢🅣🅤🅥🅦🅧🅨🅩": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "🅰🅱🅲🅳🅴🅵🅶🅷🅸🅹🅺🅻🅼🅽🅾🅿🆀🆁🆂🆃🆄🆅🆆🆇🆈🆉": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
}
_HOMOGLYPH = {ord(a): b for odd, plain in _LOOKS_LIKE.items() for a, b in zip(odd, plain, strict=True)}
_HAS_HOMOGLYPH = re.compile("[" + "".join(_LOOKS_LIKE) + "]")
_SMALL_CAPITALS = str.maketrans("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɑɡ", "abcdefghijklmnoprstuvwyzag")
_WORD = re.compile("(?:[^\\W\\d_]|[🅐-🅩🅰-🆉])+")
_ASCII_LETTER = re.compile("[A-Za-z]")

_ISOLATED = re.compile(r"[ .\-_*·/|~]\w[ .\-_*·/|~]\w[ .\-_*·/|~]")
_SPACED = re.compile(rf"(?<![^\W_])[{_LATIN}]([ .\-_*·/|~])(?:[{_LATIN}]\1){{2,}}[{_LATIN}](?![^\W_])")
_RUN = re.compile(r"(.)\1\1")
# Numerals (XVIII) and tokens of three equal letters (KKK, www, xxx) are words as they stand.
_LONG = re.compile(rf"\b(?:[IVXLCDM]{{3,6}}|[ivx]{{3,6}}|([A-Za-z])\1\1)\b|([{_LATIN}])\2{{2,}}")

_CODED = re.compile(r"[013457@$!*#%](?=[A-Za-z*#$])(?<=[A-Za-z0-9*#$].)")
_MASKED_WORDS = (
    *("fuck", "shit", "bitch", "cunt", "nigger", "nigga", "faggot", "asshole", "pussy", "whore", "slut"),
    *("dick", "cock", "bastard", "retard", "wank", "twat", "rape", "kill"),
)
_KNOWN_BY_INITIAL = frozenset({"fuck", "shit", "bitch", "cunt", "nigger"})  # f***, s***, b****, ...
_MASKED = re.compile(
    r"(?<![\w*#@$%!])(?:"
    + "|".join(f"({word[0]}{''.join(f'[{char}*#@$%!]' for char in word[1:])})" for word in _MASKED_WORDS)
    + r")(?=(?:e?r?s|e[dr]s?|in[g']?|ty|y|ish|head|face|wit|up|hole|boy)?(?![\w*#$%@]))",
    re.IGNORECASE,
)
_AT_SIGN_FOR_A = re.compile(r"(?<![\w@])@(?=ss(?:es|h[o0]les?|hats?|wipes?|clowns?)?\b)", re.IGNORECASE)
_LEET_TOKEN = re.compile(
    r"(?<![\w#@/.$-])(?=[A-Za-z0-9@$!]{0,17}[A-Za-z][013457@$!]{1,17}[A-Za-z])[A-Za-z0-9@$!]{0,17}[A-Za-z0-9](?![\w@$/-])"
)
_LEET = str.maketrans("013457@$!", "oieastasi")
# Products, times, ordinals, money, identifiers: digits that mean digits.
_NOT_LEET = re.compile(
    r"c3po|mp[34]|ps[345]|web3|ipv4|md5|sha1|gpt|log4j|win7|.*[2689]|\d+(?:st|th|rd|am|pm|[xv])\d"
    r"|[\ddhmswy]+$|[\da-f]{8,}$|.*\d(?:am|pm|st|th|rd|k)$|.*\d\d$|[a-z]{1,3}\$[a-z]|.{17}",
    re.IGNORECASE,
)
_VOWEL = re.compile("[aeiouy]", re.IGNORECASE)
_MAX_PASSES = 8


def normalised(text: str) -> str:
    """The text as every model of the project reads it; may be empty.

    Links and e-mail addresses are removed, a run of handles becomes one "@user"; HTML entities are
    decoded and white space is collapsed. Case is kept. Evasions are undone:

    - invisible characters, stacked combining marks and struck-out letters lose what hides them;
    - letters of other scripts become the Latin ones they look like, only in words that also hold Latin
      letters and only where words of the other script are not in the majority;
    - four or more single letters with one separator are joined ("i d i o t", "i.d.i.o.t");
    - runs of three or more equal letters become two ("stuuupid"), but not "KKK", "www" or "XVIII";
    - masked letters of a closed list of words are filled in ("f*ck", "s***", "b!tches");
    - digits and symbols between letters are read as letters ("1d10t", "m0ron"), not in "covid19", "h1n1",
      "4th" or "C3PO": there must be three letters, or a digit in front as well, or "00" or "33".

    Normalising twice changes nothing more.
    """
    for _ in range(_MAX_PASSES):
        clean = _once(text)
        if clean == text:
            break
        text = clean
    return text


def _once(text: str) -> str:
    if "&" in text:
        text = html.unescape(_AMPERSAND.sub("&", text))
    if not text.isascii():
        text = _with_plain_characters(text)
    text = _without_links_and_masks(text)
    if _ISOLATED.search(f" {text} "):
        text = _SPACED.sub(lambda found: found.group().replace(found.group(1), ""), text)
    if _CODED.search(text):
        text = _LEET_TOKEN.sub(_unleeted, _MASKED.sub(_unmasked, text))
    if _RUN.search(text):
        text = _LONG.sub(lambda found: found.group(2) * 2 if found.group(2) else found.group(), text)
    return " ".join(text.split())


def _without_links_and_masks(text: str) -> str:
    if "/" in text or "www." in text.lower():
        text = _URL.sub(" ", text)
    marked = "@" in text
    if marked:
        text = _EMAIL.sub(" ", text)
    bracketed = "[" in text or "<" in text
    if bracketed or "{" in text:
        text = _TAG.sub(" ", _MASK.sub(" ", text))
    if "URL" in text:
        text = _BARE_MASK.sub(" ", text)
    if "RT" in text and (found := _RETWEET.match(text)):
        text = text[found.end() :]
    if marked or bracketed:
        text = _HANDLE.sub(" @user ", _AT_SIGN_FOR_A.sub("a", text))
    return text


def _with_plain_characters(text: str) -> str:
    text = _INVISIBLE.sub("", text)
    if "\u200d" in text or "\u200c" in text:
        text = _JOINER.sub("", text)
    text = unicodedata.normalize("NFKC", text.replace("\u2800", " "))
    text = _ZALGO.sub("", text).translate(_SMALL_CAPITALS)
    return _without_homoglyphs(text) if _HAS_HOMOGLYPH.search(text) else text


def _without_homoglyphs(text: str) -> str:
    """The text with look-alikes made Latin, unless most of its words are of another script."""
    words = [word for word in _WORD.findall(text) if _HAS_HOMOGLYPH.search(word) or word.isascii()]
    if sum(bool(_ASCII_LETTER.search(word)) for word in words) * 2 < len(words):
        return text
    return _WORD.sub(_latinised, text)


def _latinised(found: re.Match[str]) -> str:
    word = found.group()
    if word.isascii() or not _ASCII_LETTER.search(word):
        return word
    plain = word.translate(_HOMOGLYPH)
    known = all(char.isascii() or "À" <= char <= "ɏ" for char in plain)
    return plain if known else word


def _unmasked(found: re.Match[str]) -> str:
    masked = found.group()
    word = _MASKED_WORDS[(found.lastindex or 1) - 1]
    n_shown = sum(char.isalpha() for char in masked)
    if n_shown == len(word) or (n_shown < 2 and word not in _KNOWN_BY_INITIAL):
        return masked
    upper = n_shown > 1 and masked.isupper()
    return "".join(
        shown if shown.isalpha() else (char.upper() if upper else char)
        for shown, char in zip(masked, word, strict=True)
    )


def _unleeted(found: re.Match[str]) -> str:
    token = found.group()
    if not _is_leet(token):
        return token
    return token.translate(_LEET).upper() if token.isupper() else token.translate(_LEET)


def _is_leet(token: str) -> bool:
    """Whether the digits and symbols of a token, some of them between letters, stand for letters."""
    if _NOT_LEET.match(token):
        return False
    parts = re.split("[!@]", token)
    if len(parts) > 1 and all(_VOWEL.search(part) for part in parts):  # "wow!great", "me@work"
        return False
    n_letters = sum(char.isalpha() for char in token)
    n_digits = sum(char.isdigit() for char in token)
    if n_letters < 3:  # "1d10t", "n00b"
        return (token[0].isdigit() and token[-1].isalpha()) or "00" in token or "33" in token
    return n_letters > n_digits


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
