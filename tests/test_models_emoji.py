from hypothesis import given
from hypothesis import strategies as st

from models.emoji import with_emoji_words


def test_emoji_become_what_they_show() -> None:
    for text, expected in (
        ("you \U0001f412", "you monkey"),
        ("get out\U0001f52a\U0001f52a", "get out knife knife"),
        ("so funny \U0001f602!", "so funny tears joy !"),
        ("\U0001f44d\U0001f3fd thanks", "thumbs up thanks"),
        ("\u2764\ufe0f", "heart \ufe0f"),
        ("plain text (c) 2020", "plain text (c) 2020"),
        ("naïve café", "naïve café"),
        ("", ""),
    ):
        assert with_emoji_words(text) == expected


@given(st.text())
def test_any_text_comes_through_and_a_second_time_changes_nothing(text: str) -> None:
    once = with_emoji_words(text)
    assert with_emoji_words(once) == once
