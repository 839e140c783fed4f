from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.examples import LabelledTexts
from training.corpora import CORPORA, UNDECIDED, Corpus, read, read_annotations, read_claims, read_toxicity
from training.duplicates import near_duplicate_groups
from training.prepare import CONTRAST, describe, prepare
from training.splits import assign_splits, sample_rows

DATA = Path(__file__).parents[2] / "shared" / "data"


def sentence(seed: int, n: int = 20) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(f"word{i}" for i in rng.integers(0, 5000, n))


def examples(**changes: object) -> LabelledTexts:
    columns: dict = {
        "labels": ("toxicity", "humor"),
        "text": ["one", "two", "three"],
        "target": np.array([[0, 1], [0.5, np.nan], [np.nan, np.nan]], dtype=np.float32),
        "weight": np.ones((3, 2), dtype=np.float32),
        "source": np.array(["a", "a", "b"]),
        "split": np.array(["train", "dev", "test"]),
        "group": np.arange(3),
        "aspect": np.array(["", "x", ""]),
    }
    return LabelledTexts(**(columns | changes))


def test_labelled_texts_come_back_from_their_file(tmp_path: Path) -> None:
    texts = examples()
    texts.write(tmp_path / "e.parquet")
    back = LabelledTexts.read(tmp_path / "e.parquet")
    assert back.labels == texts.labels
    assert list(back.text) == list(texts.text)
    for name in ("target", "weight", "source", "split", "group", "aspect"):
        np.testing.assert_array_equal(getattr(back, name), getattr(texts, name))


def test_another_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "e.parquet")
    with pytest.raises(ValueError, match="expected labelled_texts schema 1, got none"):
        LabelledTexts.read(tmp_path / "e.parquet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("toxicity", "fun")}, "got 'fun'"),
        ({"target": np.full((3, 2), 2.0)}, "target: expected numbers in .* row 0"),
        ({"target": np.zeros((2, 2))}, "target: expected shape"),
        ({"weight": np.full((3, 2), np.nan)}, "weight: expected finite"),
        ({"group": np.arange(2)}, "group: expected 3 values, got 2"),
    ],
)
def test_bad_columns_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        examples(**changes)


def test_taking_rows_by_mask_or_number_is_the_same() -> None:
    by_mask, by_number = examples().take(np.array([True, False, True])), examples().take(np.array([0, 2]))
    assert list(by_mask.text) == list(by_number.text) == ["one", "three"]


def test_copies_with_small_changes_share_a_group() -> None:
    base = sentence(1, 30)
    texts = [
        base,
        base.upper() + "!!",
        base + " and two more",
        " ".join(base.split()[:20]),
        sentence(2, 30),
        "",
    ]
    group = near_duplicate_groups(texts)
    assert group.tolist() == [0, 0, 0, 0, 4, 5]


def test_links_join_texts_that_share_no_word() -> None:
    assert near_duplicate_groups(["a b c", "d e f", "g h i"], ["p", "p", ""]).tolist() == [0, 0, 2]


def test_near_duplicates_of_brute_force_are_found() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for seed in range(150):
        words = sentence(seed, 25).split()
        texts.append(" ".join(words))
        words[int(rng.integers(0, 25))] = "changed"  # 4 of 22 shingles differ at most
        texts.append(" ".join(words))
    group = near_duplicate_groups(texts)
    assert (group[::2] == group[1::2]).mean() > 0.97
    assert len(set(group[::2].tolist())) == 150


@given(st.lists(st.tuples(st.sampled_from(["train", "natural", "unseen"]), st.integers(0, 12)), min_size=1))
def test_a_group_never_lies_on_two_sides_of_a_split(rows: list[tuple[str, int]]) -> None:
    role, group = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    split = assign_splits(role, group)
    for number in set(group.tolist()):
        found = set(split[group == number].tolist()) - {"dropped"}
        if "train" in role[group == number]:
            assert len(found) == 1
            assert found <= {"train", "dev", "test"}
        else:
            assert found <= {"unseen", "natural_dev", "natural_test"}
            assert len(found & {"natural_dev", "natural_test"}) <= 1


def test_sampling_favours_rows_with_a_label_and_keeps_order() -> None:
    positive = np.arange(2000) < 200
    rows = sample_rows(np.arange(2000), 500, positive, np.random.default_rng(0))
    assert len(rows) == len(set(rows.tolist())) == 500
    assert (np.diff(rows) > 0).all()
    assert (
        90 < positive[rows].sum() < 140
    )  # expected about 3 * 200 / (3 * 200 + 1800) * 500 = 125, minus depletion


def test_only_permissive_sets_may_train() -> None:
    refused = ("none stated", "NC", "GPL", "CC BY-SA 3.0 ES", "research")
    for corpus in CORPORA:
        if corpus.role == "train":
            assert not any(word in corpus.licence for word in refused), corpus.name
    assert len({corpus.name for corpus in CORPORA}) == len(CORPORA)


def toxicity_table(texts: list[str], toxicity: list[float | None], lang: str = "en") -> pa.Table:
    columns: dict = {"id": [f"i{i}" for i in range(len(texts))], "text": texts, "lang": [lang] * len(texts)}
    columns["toxicity"] = toxicity
    for name in ("severe_toxicity", "obscene", "threat", "insult", "identity_attack"):
        columns[name] = pa.array([None] * len(texts), pa.float64())
    return pa.table(columns)


def test_a_toxicity_set_keeps_the_labels_it_defines(tmp_path: Path) -> None:
    pq.write_table(
        toxicity_table(["Hello @anna", "https://example.org", "bye"], [0.0, 1.0, 0.5]), tmp_path / "t.parquet"
    )
    rows = read(Corpus("t", "t.parquet", "MIT", "train", read_toxicity, weight=0.3), tmp_path)
    assert rows.text == ["Hello @user", "bye"]
    assert list(rows.target) == ["toxicity"]
    np.testing.assert_array_equal(rows.target["toxicity"], [0.0, 0.5])
    np.testing.assert_array_equal(rows.weight["toxicity"], [0.3, 0.3])
    dropped = read(
        Corpus("t", "t.parquet", "MIT", "train", read_toxicity, drop=frozenset({"toxicity"})), tmp_path
    )
    assert not dropped.target


def test_claims_lose_their_style_and_undecidable_ones_are_taught_the_base_rate(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["a", "b"],
            "text": ["The Moon Is Cheese!", "Rain fell."],
            "source": ["s", "s"],
            "false_risk": [3.0, 1.0],
            "confidence": [2.0, 0.0],
            "antivax": [0.0, 0.0],
            "civic": [0.0, 0.0],
            "health": [0.0, 1.0],
        }
    )
    pq.write_table(table, tmp_path / "c.parquet")
    rows = read(Corpus("c", "c.parquet", "MIT", "train", read_claims, source="s"), tmp_path)
    assert rows.text == ["the moon is cheese", "rain fell"]
    np.testing.assert_allclose(rows.target["misinformation"], [1.0, UNDECIDED])
    np.testing.assert_allclose(rows.weight["misinformation"], [1.0, 0.5])


def test_the_sentences_of_the_project_join_and_count_less() -> None:
    rows = read(CONTRAST, Path())
    weight = np.unique(rows.weight["toxicity"])
    assert weight.max() == CONTRAST.weight < 1
    assert len(rows.text) > 4000


def test_a_training_row_is_visited_as_often_as_its_corpus_says(tmp_path: Path) -> None:
    texts = [sentence(i) for i in range(60)]
    pq.write_table(toxicity_table(texts, [float(i % 2) for i in range(60)]), tmp_path / "t.parquet")
    corpus = Corpus("t", "t.parquet", "MIT", "train", read_toxicity, train_rows=50, passes=3)
    found = prepare(tmp_path, corpora=(corpus,))
    _, counts = np.unique(
        [text for text, split in zip(found.text, found.split, strict=True) if split == "train"],
        return_counts=True,
    )
    assert (counts == 3).all()
    held = [text for text, split in zip(found.text, found.split, strict=True) if split != "train"]
    assert len(held) == len(set(held))


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected the data set 'jigsaw_wiki_train' here"):
        prepare(tmp_path)


def test_prepared_texts_keep_copies_together_and_say_where_they_come_from(tmp_path: Path) -> None:
    texts = [sentence(i) for i in range(60)]
    pq.write_table(toxicity_table(texts, [float(i % 2) for i in range(60)]), tmp_path / "t.parquet")
    pq.write_table(toxicity_table([*texts[:10], "quite another text"], [0.0] * 11), tmp_path / "u.parquet")
    corpora = (
        Corpus("t", "t.parquet", "MIT", "train", read_toxicity, train_rows=20),
        Corpus("u", "u.parquet", "none stated", "unseen", read_toxicity),
    )
    found = prepare(tmp_path, corpora=corpora)
    assert [found.text[i] for i in np.flatnonzero(found.split == "unseen")] == ["quite another text"]
    assert (found.split == "train").sum() == 20
    about = describe(found, tmp_path, corpora)
    assert about["u"]["rows"] == {"unseen": 1}
    assert len(about["t"]["sha256"]) == 64


def test_real_annotations_are_read_when_they_are_there() -> None:
    if not DATA.exists():
        pytest.skip("the shared data sets are not here")
    corpus = next(c for c in CORPORA if c.name == "annotations/hatexplain")
    assert corpus.read is read_annotations
    rows = read(corpus, DATA)
    assert len(rows.text) > 400
    assert {"respect", "moral_outrage", "graphic_violence", "clickbait"} <= set(rows.target)
