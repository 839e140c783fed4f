"""Sentences as spans, and their offsets in UTF-16."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.serving.perspective_sentences import in_utf16, sentences, slice_utf16


class TestSentences:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "What kind of name is foo? Sorry, I like it.",
                ["What kind of name is foo? ", "Sorry, I like it."],
            ),
            ("you are wrong. go away", ["you are wrong. ", "go away"]),
            (
                "Dr. Smith met J. Doe at 5 p.m. on Main St. yesterday. Good!",
                ["Dr. Smith met J. Doe at 5 p.m. on Main St. yesterday. ", "Good!"],
            ),
            ("I live in the U.S. You do not.", ["I live in the U.S. ", "You do not."]),
            ("It costs 3.50 at shop.example today", ["It costs 3.50 at shop.example today"]),
            ("well... i think so… maybe... Not sure", ["well... i think so… maybe... ", "Not sure"]),
            (
                '"Really?" he asked. (Yes.) Then "No!" Gone',
                ['"Really?" he asked. ', "(Yes.) ", 'Then "No!" ', "Gone"],
            ),
            ("1. First thing\n2. Second\r\n\r\nEnd", ["1. First thing\n", "2. Second\r\n\r\n", "End"]),
            ("NO!!! why?! stop", ["NO!!! ", "why?! ", "stop"]),
            ("你好。再见\uff01好", ["你好。", "再见\uff01", "好"]),
            ("It was I. Then he came.", ["It was I. ", "Then he came."]),
            ("\n\n  Hi there. \n ", ["\n\n  Hi there. \n "]),
            ("", []),
        ],
    )
    def test_sentences_are_found(self, text: str, expected: list[str]) -> None:
        assert [text[begin:end] for begin, end in sentences(text)] == expected

    @given(st.text(st.sampled_from("aB.!?…。 \n\"'()😀é1"), max_size=60), st.integers(1, 5))
    def test_spans_tile_the_text(self, text: str, most: int) -> None:
        spans = sentences(text, most)
        assert "".join(text[begin:end] for begin, end in spans) == text
        assert len(spans) <= most
        assert all(text[begin:end].strip() for begin, end in spans) or not text.strip()

    @given(st.text(max_size=60))
    def test_offsets_cut_the_same_parts_in_utf16(self, text: str) -> None:
        spans = sentences(text)
        units = in_utf16(text, spans)
        assert [slice_utf16(text, *span) for span in units] == [text[begin:end] for begin, end in spans]
        assert units == [] or (units[0][0], units[-1][1]) == (0, len(text.encode("utf-16-le")) // 2)

    @pytest.mark.parametrize("unit", [".", "!)", ". ", "\n", " ", "a.", "。", '"', "Dr. "])
    def test_a_long_text_of_marks_is_read_at_once(self, unit: str) -> None:
        began = time.thread_time()
        assert len(sentences(unit * (20_480 // len(unit)))) <= 100
        assert time.thread_time() - began < 2  # of this thread's own work: .02 s, and an hour were it cubic

    def test_a_span_within_a_character_is_none(self) -> None:
        assert [slice_utf16("a😀b", *span) for span in [(0, 2), (2, 3), (1, 3), (0, 5), (3, 3), (-1, 1)]] == [
            None,
            None,
            "😀",
            None,
            None,
            None,
        ]
