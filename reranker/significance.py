"""What makes a comment, reply, reshare or message significant (W7): five or more unique tokens.

The rule is published, the tokens are not. Ours: words by Unicode's word boundaries, case folded; Han
characters one each; scripts that do not separate words (kana, Thai, Lao, Khmer, Burmese) in pieces of
two to four letters. Emoji and punctuation are not tokens. These choices are assumptions.
"""

import regex

_JOINED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = regex.compile(
    r"\p{Han}"
    r"|[\p{Hiragana}\p{Katakana}\N{KATAKANA-HIRAGANA PROLONGED SOUND MARK}]{1,2}"
    r"|(?:[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*){1,4}"
    rf"|[\p{{L}}\p{{N}}](?:[\p{{L}}\p{{N}}\p{{M}}--[{_JOINED}]]"
    r"|['\N{RIGHT SINGLE QUOTATION MARK}](?=\p{L}))*",
    regex.VERSION1,
)
_GRAPHEME = regex.compile(r"\X")


def tokens(text: str) -> list[str]:
    """The tokens of a text in order, case folded.

    Example:
        >>> tokens("Don't shout: I agree, I agree!")
        ["don't", 'shout', 'i', 'agree', 'i', 'agree']
    """
    return _TOKEN.findall(text.casefold())


def n_unique_tokens(text: str) -> int:
    """How many different tokens a text has; the same word fifty times is one.

    Example:
        >>> n_unique_tokens("yes " * 50)
        1
    """
    return len(set(tokens(text)))


def is_single_character(text: str) -> bool:
    """Whether nothing but one character as a reader sees it is there; an empty text is not a comment.

    Example:
        >>> is_single_character("."), is_single_character("👍🏽"), is_single_character("ok")
        (True, True, False)
    """
    return len(_GRAPHEME.findall(text.strip())) <= 1
