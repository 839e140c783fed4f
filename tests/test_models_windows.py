from collections.abc import Sequence
from itertools import pairwise

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from models.windows import pieces, windowed, windows

N_WORDS = 500
FIRST, LAST = N_WORDS, N_WORDS + 1


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Words "0", "1", ... are the tokens 0, 1, ...; windows hold 16 tokens of which two are special."""
    vocabulary = {str(i): i for i in range(N_WORDS)} | {"[CLS]": FIRST, "[SEP]": LAST, "[UNK]": N_WORDS + 2}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", FIRST), ("[SEP]", LAST)]
    )
    return windowed(made, 16)


def counted(n: int) -> str:
    return " ".join(str(i) for i in range(n))


def words_of(found: Sequence[list[int]]) -> list[list[int]]:
    assert all(ids[0] == FIRST and ids[-1] == LAST and len(ids) <= 16 for ids in found)
    return [ids[1:-1] for ids in found]


@pytest.mark.parametrize("n", [1, 13, 14, 15, 26, 27, 499])
def test_windows_hold_every_word_and_share_two(tokenizer: Tokenizer, n: int) -> None:
    ((rows, ids),) = windows(tokenizer, [counted(n)])
    found = words_of(ids)
    assert rows == [0] * len(ids)
    assert found[0] == list(range(min(n, 14)))
    for before, after in pairwise(found):
        assert after[:2] == before[-2:]
        assert after == list(range(after[0], after[-1] + 1))
    assert found[-1][-1] == n - 1


def test_windows_know_their_text(tokenizer: Tokenizer) -> None:
    ((rows, ids),) = windows(tokenizer, ["7", counted(20), "", "9"])
    assert rows == [0, 1, 1, 2, 3]
    assert [len(entry) for entry in words_of(ids)] == [1, 14, 8, 0, 1]
    assert list(windows(tokenizer, [])) == []


def test_a_text_of_any_length_comes_in_groups_of_bounded_size(tokenizer: Tokenizer) -> None:
    groups = list(windows(tokenizer, [counted(N_WORDS) + " " + "1 " * 1_500_000, "5"]))
    assert len(groups) == 3
    assert all(len(ids) < 50_000 for _, ids in groups)
    assert groups[-1][0][-1] == 1
    assert set(groups[0][1][3]) - {FIRST, LAST} == set(range(36, 50))


@pytest.mark.parametrize("text", ["", "short", counted(300), "x" * 70 + " " + counted(40), "y" * 333])
def test_pieces_lose_nothing_and_overlap(text: str) -> None:
    found = list(pieces(text, size=64, shared=16))
    assert all(len(piece) <= 64 for piece in found)
    starts = [0]
    for before, piece in pairwise(found):
        starts.append(text.index(piece, starts[-1] + 1))
        assert starts[-1] < starts[-2] + len(before)
    assert all(text.startswith(piece, start) for start, piece in zip(starts, found, strict=True))
    assert len(found[-1]) <= len(text)
    assert text.endswith(found[-1])


def test_pieces_part_at_spaces() -> None:
    text = counted(300)
    assert {word for piece in pieces(text, size=64, shared=16) for word in piece.split()} == set(text.split())
