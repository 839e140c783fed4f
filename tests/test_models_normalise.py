import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.normalise import is_mostly_latin, normalised, without_style


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@anna @bob: look at https://t.co/abc now", "@user look at now"),
        ("[USER] look at [URL] now", "@user look at now"),
        ("RT @anna: hello &amp; welcome", "@user hello & welcome"),
        ("write to anna@example.org please", "write to please"),
        ("  two\n\nlines  ", "two lines"),
        ("<b>bold</b> words", "bold words"),
        ("an email@ sign and a < b", "an email@ sign and a < b"),
        ("\uff48\uff49 there", "hi there"),
        ("https://example.org", ""),
    ],
)
def test_masks_of_every_data_set_become_one_form(text: str, expected: str) -> None:
    assert normalised(text) == expected


@given(st.text(max_size=60))
def test_output_has_no_outer_or_double_space(text: str) -> None:
    clean = normalised(text)
    assert clean == " ".join(clean.split())


def test_style_is_removed() -> None:
    assert without_style("You Will Not Believe This!!! https://example.org") == "you will not believe this"


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("hello", True),
        ("schön, façade", True),
        ("привет", False),
        ("你好 ok", False),
        ("12 34!", False),
        ("", False),
    ],
)
def test_script_is_told_by_letters(text: str, latin: bool) -> None:
    assert is_mostly_latin(text) is latin
