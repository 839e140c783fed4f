import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tiny import labelled_texts
from training.corpora import Corpus, read_toxicity
from training.unlabelled import POSTS, main, unlabelled

HELD_OUT = "the council met on monday to speak about the old bridge near the mill"
COLUMNS = ("toxicity", "severe_toxicity", "identity_attack", "insult", "obscene", "threat")
CORPORA = (
    Corpus("edos", "toxicity/edos.parquet", "CC0 1.0", "train", read_toxicity),
    Corpus("olid", "toxicity/olid.parquet", "none stated", "unseen", read_toxicity),
)


def save(path: Path, text: list[str], **columns: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": text, **columns}), path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    texts = ["a text of the training", "one that was left over", HELD_OUT + " again"]
    none: dict[str, list[object]] = {name: [0.0] for name in COLUMNS}
    rows = {name: values * 3 for name, values in none.items()}
    save(tmp_path / "toxicity" / "edos.parquet", texts, id=["1", "2", "3"], **rows)
    save(tmp_path / "toxicity" / "olid.parquet", ["a text of a set that may not ship"], id=["1"], **none)
    save(
        tmp_path / POSTS,
        ["good morning to all of you", "", None, "good morning to all of you", "text unseen"],
    )
    return tmp_path


EXAMPLES = labelled_texts(
    ("toxicity",),
    ["a text of the training", HELD_OUT, "text unseen"],
    [[0.0], [0.0], [1.0]],
    split=np.array(["train", "test", "unseen"]),
)


def test_what_may_train_and_does_not_is_taken_once_without_copies_of_held_out_texts(data: Path) -> None:
    assert unlabelled(data, EXAMPLES, CORPORA).to_pylist() == [
        {"text": "one that was left over", "source": "edos", "licence": "CC0 1.0"},
        {"text": "good morning to all of you", "source": "fb_pages_2016_minimaxir", "licence": "MIT"},
    ]


def test_a_directory_without_the_posts_is_told(data: Path) -> None:
    (data / POSTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"minimaxir\.parquet: expected posts of pages"):
        unlabelled(data, EXAMPLES, CORPORA)


def test_the_command_draws_the_same_texts_each_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EXAMPLES.write(tmp_path / "examples.parquet")
    save(data / POSTS, [f"post number {i} of a page about {i * i} things" for i in range(50)])
    monkeypatch.setattr("training.unlabelled.CORPORA", CORPORA)
    found = []
    for name in ("first", "second"):
        out = tmp_path / f"{name}.parquet"
        options = ["--data", str(data), "--examples", str(tmp_path / "examples.parquet")]
        monkeypatch.setattr(sys, "argv", ["unlabelled", *options, "--at-most", "20", "--out", str(out)])
        main()
        found.append(pq.read_table(out).to_pydict())
    assert found[0] == found[1]
    assert len(set(found[0]["text"])) == 20
    monkeypatch.setattr(sys, "argv", ["unlabelled", *options, "--at-most", "0", "--out", str(out)])
    with pytest.raises(SystemExit):
        main()
