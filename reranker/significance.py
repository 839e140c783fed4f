"""What makes a comment, reply, reshare or message significant (W7): five or more unique tokens.

The rule is published, the tokens are not. Ours: words by Unicode's letters and digits, case folded; a Han
character is one. Scripts that do not separate words are counted by letters: two kana, or four letters of
Thai, Lao, Khmer or Burmese, make a token, so that a word said fifty times is still one word's letters. Emoji
and punctuation are not tokens. These choices are assumptions.
"""

import regex

_KANA_PER_TOKEN, _LETTERS_PER_TOKEN = 2, 4
_KANA_CLASS = r"\p{Hiragana}\p{Katakana}\N{KATAKANA-HIRAGANA PROLONGED SOUND MARK}"
_JOINED_CLASS = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_ELSEWHERE = rf"\p{{Han}}{_KANA_CLASS}{_JOINED_CLASS}"
_KANA = regex.compile(rf"[{_KANA_CLASS}]")
_JOINED = regex.compile(rf"[{_JOINED_CLASS}]\p{{M}}*")
_WORD = regex.compile(
    r"\p{Han}"
    rf"|[\p{{L}}\p{{N}}--[{_ELSEWHERE}]](?:[\p{{L}}\p{{N}}\p{{M}}--[{_ELSEWHERE}]]"
    r"|['\N{RIGHT SINGLE QUOTATION MARK}](?=\p{L}))*",
    regex.VERSION1,
)
_GRAPHEME = regex.compile(r"\X")


def n_unique_tokens(text: str) -> int:
    """How many different tokens a text has; the same word fifty times is one.

    Example:
        >>> n_unique_tokens("Don't shout: I agree, I agree!"), n_unique_tokens("yes " * 50)
        (4, 1)
    """
    folded = text.casefold()
    return _count(*(len(set(found.findall(folded))) for found in (_WORD, _KANA, _JOINED)))


def n_tokens(text: str) -> int:
    """How many tokens a text has, repeats included.

    Example:
        >>> n_tokens("Don't shout: I agree, I agree!"), n_tokens("yes " * 50)
        (6, 50)
    """
    return _count(*(len(found.findall(text)) for found in (_WORD, _KANA, _JOINED)))


def _count(words: int, kana: int, letters: int) -> int:
    return words - (-kana // _KANA_PER_TOKEN) - (-letters // _LETTERS_PER_TOKEN)  # rounded up


def is_single_character(text: str) -> bool:
    """Whether nothing but one character as a reader sees it is there; an empty text is not a comment.

    Example:
        >>> is_single_character("."), is_single_character("👍🏽"), is_single_character("ok")
        (True, True, False)
    """
    return len(_GRAPHEME.findall(text.strip())) <= 1
