"""The significance rule (W7) and the single-character filter (W21)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.significance import is_single_character, n_tokens, n_unique_tokens


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("one two three four", 4),
        ("one two three four five", 5),
        ("yes " * 50, 1),
        ("One one ONE oNe one", 1),
        ("a, b; c. d!", 4),
        ("", 0),
        (" \n\t ", 0),
        ("...!?", 0),
        ("x", 1),
        ("don't can't won't", 3),
        ("don\N{RIGHT SINGLE QUOTATION MARK}t shout", 2),
        ("'quoted' words", 2),
        ("2020 was 31 days", 4),
        ("STRASSE straße", 1),
    ],
)
def test_unique_tokens_are_counted_by_hand(text: str, n: int) -> None:
    """W7."""
    assert n_unique_tokens(text) == n


@pytest.mark.parametrize(
    ("text", "significant"),
    [
        ("one two three four", False),
        ("one two three four five", True),
        ("go " * 50, False),
        ("我不同意", False),  # four characters
        ("我不同意你", True),  # five
        ("哈哈哈哈哈哈哈哈", False),  # one character, eight times
        ("これはとてもよい", False),  # eight kana in pairs: four tokens
        ("これはとてもよいです", True),  # ten kana in pairs: five
        ("ฉันไม่เห็นด้วย", False),  # eleven letters without marks in fours: three tokens
        ("ฉันไม่เห็นด้วยกับเรื่องนี้เลยสักนิด", True),
        ("😀 😃 😄 😁 😆 😅", False),
        ("👍🏽👍🏽👍🏽👍🏽👍🏽", False),
        ("мы никак этого не одобряем", True),
        ("لا أوافق على هذا", False),
    ],
)
def test_five_unique_tokens_are_significant_in_any_script(text: str, significant: bool) -> None:
    """W7."""
    assert (n_unique_tokens(text) >= 5) is significant


def test_a_word_said_ten_times_is_not_significant_where_words_are_not_separated() -> None:
    """W7, C12."""
    assert n_unique_tokens("ありがとう" * 10) == 3
    assert n_unique_tokens("ขอบคุณ" * 10) == 2


def test_han_characters_are_tokens_of_their_own_and_kana_go_in_pairs() -> None:
    assert n_tokens("東京でラーメン") == 5  # two Han, five kana in pairs
    assert n_tokens("one two two") == 3


@given(st.lists(st.sampled_from("abcdefgh"), max_size=20))
def test_separate_letters_count_as_their_set(letters: list[str]) -> None:
    """W7, against Python's own set."""
    assert n_unique_tokens(" ".join(letters)) == len(set(letters))


@given(st.text(max_size=40), st.integers(2, 5))
def test_repeating_a_text_makes_no_new_tokens(text: str, times: int) -> None:
    """W7."""
    assert n_unique_tokens("\n".join([text] * times)) == n_unique_tokens(text)


@given(st.text(max_size=40))
def test_case_does_not_make_a_token_new(text: str) -> None:
    folded = text.casefold()
    assert n_unique_tokens(folded + "\n" + folded) == n_unique_tokens(text + "\n" + folded)


@pytest.mark.parametrize(
    "text", [".", "a", " a ", "\u00e9", "e\u0301", "👍", "👍🏽", "👨‍👩‍👧", "🇲🇲", "我", "", "  "]
)
def test_one_character_as_a_reader_sees_it_is_a_single_one(text: str) -> None:
    """W21."""
    assert is_single_character(text)


@pytest.mark.parametrize("text", ["ok", "..", "a b", "👍👍", "我是", "🇲🇲🇮🇳"])
def test_two_characters_are_not_a_single_one(text: str) -> None:
    """W21."""
    assert not is_single_character(text)
