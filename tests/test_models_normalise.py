# ruff: noqa: RUF001 - look-alike letters are the subject
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stuuuupid", "stuupid"),
        ("i d i o t", "idiot"),
        ("you are i.d.i.o.t man", "you are idiot man"),
        ("1d10t", "idiot"),
        ("m0ron", "moron"),
        ("B1TCH", "BITCH"),
        ("n00b", "noob"),
        ("bast@rd", "bastard"),
        ("@ssh0le", "asshole"),
        ("sh!t", "shit"),
        ("f*ck F*CK f***ing", "fuck FUCK fucking"),
        ("s\u200btu\u00adpid", "stupid"),
        ("ѕtuріd", "stupid"),
        ("ʏᴏᴜ", "you"),
        ("s̷t̸u̵p̶i̷d̴", "stupid"),
        ("b\u200da\u200dd", "bad"),
        ("&amp;amp;lt;", "<"),
        ("z̀́̂a̎̐̑l̖̗g̘̙o", "zalgo"),
    ],
)
def test_evasions_are_undone(text: str, expected: str) -> None:
    assert normalised(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "covid19 h1n1 b2b 4th mp3 2nd C3PO s01e05 1h30m 50cent v1.0.3b COVID-19",
        "It costs $5k, US$5 or US$billion at 10:30 on 24/7.",
        "The KKK, www, XVIII and the U.S. (e.g. D.C.)",
        "wow!great, meet me@work #Th0t **kill**",
        "café naïve schön façade",
        "привет идиот, SMSка пришла мне вчера",
        "Слово Ρώμη",
        "word мир",
        "می\u200cخواهم",
        "👨\u200d👩\u200d👧",
        "b****r k***",
        "He said: don't go, it's the 3rd time we've been there in 2019!",
    ],
)
def test_what_only_looks_like_an_evasion_is_kept(text: str) -> None:
    assert normalised(text) == text


MARKED = st.lists(
    st.sampled_from(
        [
            "&amp;",
            "amp;",
            "<",
            "b>",
            "@",
            "ss",
            "RT ",
            "a",
            "A",
            " ",
            ".",
            "*",
            "0",
            "1",
            "3",
            "!",
            "$",
            "f",
            "ck",
            "\u200b",
            "\u200d",
            "а",
            "і",
            "\u0301",
            "\u0336",
            "🅰",
            "URL",
            "[",
            "user]",
            "http://",
            "www.",
            "é",
        ]
    ),
    max_size=24,
).map("".join)


@given(st.one_of(st.text(max_size=60), MARKED))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    clean = normalised(text)
    assert normalised(clean) == clean
