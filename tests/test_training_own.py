"""Texts that users bring: three file formats and the hub read alike, and every bad value is named."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.examples import LabelledTexts
from tests.tiny import labelled_texts
from training.corpora import CORPORA
from training.own import TRAINABLE, Own, describe_own, read_own, stated_splits
from training.prepare import main, prepare
from training.splits import assign_splits

TABLE = {
    "text": ["Thanks, all of you", 'He said: "no"\nand left', "you idiot", "nothing said", ""],
    "toxicity": [0.0, None, 1.0, None, 1.0],
    "insult": [False, False, True, None, True],
    "split": ["train", "dev", "test", None, None],
    "weight": [2.0, None, 0.5, 1.0, 1.0],
    "aspect": [None, "women", None, None, None],
}


def csv_file(folder: Path, text: str, name: str = "posts.csv") -> str:
    path = folder / name
    path.write_text(text, "utf-8")
    return str(path)


def rows_of(table: dict) -> list[dict]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def as_csv(table: dict) -> str:
    def cell(value: object) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"'

    lines = [table, *([row[name] for name in table] for row in rows_of(table))]
    return "\n".join(",".join(cell(value) for value in line) for line in lines) + "\n"


def only(origin: str, **options: str) -> Own:
    (own,) = read_own(origin, **options)
    return own


def plain(own: Own) -> dict:
    """All that was read but for names and digests, with NaN as None."""

    def numbers(columns: dict) -> dict:
        return {
            name: [None if math.isnan(x) else x for x in values.tolist()] for name, values in columns.items()
        }

    rows = own.rows
    return {
        "text": rows.text,
        "target": numbers(rows.target),
        "weight": numbers(rows.weight),
        "aspect": rows.aspect,
        "link": rows.link,
        "source": own.source,
        "split": own.split,
    }


def test_csv_parquet_and_jsonl_are_read_alike(tmp_path: Path) -> None:
    csv_file(tmp_path, as_csv(TABLE))
    pq.write_table(pa.table(TABLE), tmp_path / "posts.parquet")
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows_of(TABLE)))
    found = [plain(only(str(tmp_path / f"posts.{ending}"))) for ending in ("csv", "parquet", "jsonl")]
    assert found[0] == found[1] == found[2]
    assert found[0] == {
        "text": ["Thanks, all of you", 'He said: "no" and left', "you idiot"],
        "target": {"toxicity": [0.0, None, 1.0], "insult": [0.0, 0.0, 1.0]},
        "weight": {"toxicity": [2.0, 1.0, 0.5], "insult": [2.0, 1.0, 0.5]},
        "aspect": ["", "women", ""],
        "link": ["", "", ""],
        "source": ["posts"] * 3,
        "split": ["train", "dev", "test"],
    }


def test_text_is_normalised_as_at_inference(tmp_path: Path) -> None:
    origin = csv_file(tmp_path, "text,toxicity\n  you &amp; @me https://a.b/c ,1\n@x@y,0\n")
    assert only(origin).rows.text[0] == "you & @user"


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_bytes(b"\xef\xbb\xbftext,toxicity\r\na b,1\r\n\r\nc d,0\r\n")
    assert only(str(path)).rows.text == ["a b", "c d"]


def test_rows_without_text_annotation_or_english_are_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    origin = csv_file(
        tmp_path,
        "text,toxicity,language\na b,1,en\nc d,0,en-GB\ne f,0,\n"
        " , 1,en\nhttps://a.b,1,\nbonjour,0,fr\ng h,,en\n",
    )
    with caplog.at_level(logging.INFO):
        assert only(origin).rows.text == ["a b", "c d", "e f"]
    assert (
        "3 of 7 rows are used; left out: 1 in other languages than English, 2 without text, " in caplog.text
    )
    assert "1 without an annotation" in caplog.text


def test_columns_of_no_use_are_named_once_with_the_label_they_may_mean(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    origin = csv_file(tmp_path, "text,toxicity,id,Insults,civic_toxicity\na b,1,7,1,1\nc d,0,8,0,0\n")
    assert list(only(origin).rows.target) == ["toxicity"]
    (record,) = caplog.records
    assert "['id', 'Insults', 'civic_toxicity'] are not read" in record.getMessage()
    assert "not derived from others" in record.getMessage()
    assert "'Insults': nearest label insult" in record.getMessage()


def test_the_source_column_overrules_the_file_name(tmp_path: Path) -> None:
    origin = csv_file(tmp_path, "text,toxicity,source\na b,1,forum\nc d,0,\n")
    assert only(origin).source == ["forum", "posts"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"posts.csv: expected a column 'text', got the columns \[\]"),
        ("body,toxicity\na,1\n", r"expected a column 'text', got the columns \['body', 'toxicity'\]"),
        (
            "text,toxic\na,1\n",
            r"column named after a label .*'text', 'toxic'.*'toxic': nearest label toxicity",
        ),
        ("text,zzz\na,1\n", r"column named after a label .* \(labels: toxicity, severe_toxicity"),
        ("text,civic_toxicity\na,1\n", "column named after a label of the taxonomy"),
        ("text,text,toxicity\na,b,1\n", "expected distinct column names"),
        ("text,toxicity\na,1\nb,1.5\n", r"posts.csv: row 2, toxicity: expected .* \[0, 1\].* got '1.5'"),
        ("text,toxicity\na,-1\n", "row 1, toxicity: .* got '-1'"),
        ("text,toxicity\na,inf\n", "row 1, toxicity: .* got 'inf'"),
        ("text,toxicity,insult\na,1,1\n\nb,0,yes\n", "row 2, insult: .* got 'yes'"),
        ("text,toxicity,weight\na,1,-2\n", "row 1, weight: expected a finite number >= 0 .* got '-2'"),
        ("text,toxicity,weight\na,1,inf\n", "row 1, weight: .* got 'inf'"),
        ("text,toxicity,split\na,1,validation\n", "row 1, split: expected one of .* got 'validation'"),
        ("text,toxicity,source\na,1,edos\n", "source: expected no name of a built-in data set, got 'edos'"),
        (
            "text,toxicity\n,1\nb,\n",
            "expected a usable row, got none of 2: 0 .* 1 without text, 1 without an",
        ),
        ("text,toxicity\n", "expected a usable row, got none of 0"),
        ("text,toxicity\na,1\nb,1,2\n", "posts.csv: row 2: expected 2 values, got 3"),
        ('text,toxicity\n"a,1\n', "posts.csv, line 2: expected CSV: unexpected end of data"),
    ],
)
def test_what_cannot_be_used_in_a_csv_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_own(csv_file(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "toxicity": 1}\n[1]\n', r"posts.jsonl: row 2: expected a JSON object, got \[1\]"),
        ('{"text": "a"', "posts.jsonl: row 1: expected a JSON object: "),
        ('{"text": 5, "toxicity": 1}', "row 1, text: expected text, got 5"),
        ('{"text": "a", "toxicity": [1]}', r"row 1, toxicity: .* got \[1\]"),
        ('{"text": "a", "toxicity": 1' + "0" * 400 + "}", "row 1, toxicity: .* got 10000"),
    ],
)
def test_what_cannot_be_used_in_a_jsonl_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_own(csv_file(tmp_path, content, "posts.jsonl"))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.csv: expected a file of labelled texts"):
        read_own(str(tmp_path / "none.csv"))
    with pytest.raises(
        ValueError, match=r"posts.xlsx: expected a name ending in one of .* or hub:owner/name"
    ):
        read_own(str(tmp_path / "posts.xlsx"))
    with pytest.raises(ValueError, match=r"posts.parquet: expected a parquet file"):
        read_own(csv_file(tmp_path, "text,toxicity\na,1\n", "posts.parquet"))


def test_other_encodings_than_utf_8_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_bytes("text,toxicity\nno,0\ncafé,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"posts.csv, line 3: expected UTF-8, got the byte 0xe9"):
        read_own(str(path))
    pq.write_table(pa.table({"text": _invalid_string(), "toxicity": [1.0]}), tmp_path / "posts.parquet")
    with pytest.raises(ValueError, match=r"posts.parquet: expected UTF-8, got the byte 0xe9"):
        read_own(str(tmp_path / "posts.parquet"))


def _invalid_string() -> pa.Array:
    """A string array that holds a byte which is not UTF-8, as careless writers make them."""
    raw = pa.array([b"caf\xe9"])
    return pa.StringArray.from_buffers(1, raw.buffers()[1], raw.buffers()[2])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(value=st.floats(width=64), label=st.sampled_from(TRAINABLE))
def test_a_label_takes_the_numbers_from_0_to_1_and_no_others(
    tmp_path: Path, value: float, label: str
) -> None:
    pq.write_table(pa.table({"text": ["first", "second"], label: [0.5, value]}), tmp_path / "posts.parquet")
    origin = str(tmp_path / "posts.parquet")
    if math.isnan(value):  # not annotated
        assert only(origin).rows.text == ["first"]
    elif 0 <= value <= 1:
        assert only(origin).rows.target[label].tolist() == [0.5, value]
    else:
        with pytest.raises(ValueError, match=f"row 2, {label}: expected a number in"):
            read_own(origin)


splits = st.sampled_from(["", "train", "dev", "test", "unseen"])


@settings(deadline=None)
@given(st.lists(st.tuples(splits, st.sampled_from(["train", "natural", "unseen"]), st.integers(0, 4))))
def test_no_group_lies_on_two_sides_and_stated_splits_are_kept_or_dropped(rows: list) -> None:
    stated = np.array([row[0] for row in rows], dtype=np.str_)
    own = np.where(stated == "unseen", "unseen", "train")
    role = np.where(stated != "", own, np.array([row[1] for row in rows], dtype=np.str_))
    group = np.array([row[2] for row in rows], dtype=np.int64)
    found = stated_splits(assign_splits(role, group), stated, group)
    for number in np.unique(group):
        here = set(found[group == number]) - {"dropped"}
        assert len(here) <= 1 or here <= {"unseen", "natural_dev", "natural_test"}
    assert all(a in {b, "dropped"} for a, b in zip(found[stated != ""], stated[stated != ""], strict=True))
    if (stated == "").all():
        assert found.tolist() == assign_splits(role, group).tolist()


def test_a_copy_in_training_gives_way_to_the_text_stated_as_test() -> None:
    drawn = np.array(["train", "train", "train", "dropped", "unseen"])
    stated = np.array(["train", "test", "", "", ""])
    found = stated_splits(drawn, stated, np.array([0, 0, 0, 0, 1]))
    assert found.tolist() == ["dropped", "test", "test", "dropped", "unseen"]


def test_texts_stated_unseen_are_not_in_the_role_of_training_texts(tmp_path: Path) -> None:
    own = only(csv_file(tmp_path, "text,toxicity,split\na b,1,unseen\nc d,0,\ne f,0,test\n"))
    assert own.role == ["unseen", "train", "train"]


def test_the_description_counts_rows_per_source_and_names_files_and_licence(tmp_path: Path) -> None:
    first = only(csv_file(tmp_path, "text,toxicity,source\na b,1,forum\nc d,0,\n"), licence="CC0")
    second = only(csv_file(tmp_path, "text,toxicity,source\ne f,1,forum\n", "more.csv"), licence="CC0")
    texts = labelled_texts(
        ("toxicity",),
        first.rows.text + second.rows.text,
        np.ones((3, 1)),
        source=np.array(first.source + second.source),
        split=["train", "dev", "train"],
    )
    about = describe_own(texts, [first, second])
    assert about["forum"]["rows"] == {"train": 2}
    assert about["posts"]["rows"] == {"dev": 1}
    assert about["forum"]["licence"] == "CC0"
    assert about["forum"]["file"] == f"{first.name}, {second.name}"
    assert about["posts"]["sha256"] == first.sha256
    assert "not stated" in only(first.name).licence


def test_a_hub_data_set_is_refused_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"hub:no/such: expected a data set .* name a local file"):
        read_own("hub:no/such")


def test_each_split_of_a_data_set_laid_out_as_on_the_hub_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datasets

    # Where a folder has the name of the data set, the library reads it: the same files, no network.
    (tmp_path / "owner" / "name").mkdir(parents=True)
    for split, text in (("train", "a b"), ("validation", "c d"), ("test", "e f")):
        csv_file(tmp_path / "owner" / "name", f"text,toxicity,other\n{text},1,x\n", f"{split}.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    parts = read_own("hub:owner/name:default")
    assert [part.rows.text for part in parts] == [["a b"], ["c d"], ["e f"]]
    assert [part.split for part in parts] == [["train"], ["dev"], ["test"]]
    assert [part.source for part in parts] == [["owner/name"]] * 3
    assert parts[0].name == "hub:owner/name:default (train)"
    assert len({part.sha256 for part in parts}) == 3


def test_own_texts_join_the_public_ones_and_keep_their_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = " ".join(f"w{i}" for i in range(20)), " ".join(f"v{i}" for i in range(20))
    (tmp_path / "toxicity").mkdir()
    public = {"id": [1, 2], "text": [first, second], "lang": ["en"] * 2}
    public |= {name: [1.0, 0.0] for name in ("toxicity", "severe_toxicity", "identity_attack")}
    public |= {name: [1.0, 0.0] for name in ("insult", "obscene", "threat")}
    pq.write_table(pa.table(public), tmp_path / "toxicity" / "edos.parquet")
    own = csv_file(tmp_path, f"text,humor,split\n{first.upper()},1,test\nmine alone,0,train\n")
    corpus = next(entry for entry in CORPORA if entry.file == "toxicity/edos.parquet")
    with caplog.at_level(logging.INFO):
        texts = prepare(tmp_path, corpora=(corpus,), own=read_own(own))
    by_text = dict(zip(texts.text, texts.split.tolist(), strict=True))
    assert by_text[first] == by_text[first.upper()] == "test"  # never trained on
    assert by_text["mine alone"] == "train"
    assert "humor" in texts.labels
    out = tmp_path / "out" / "e.parquet"
    monkeypatch.setattr("sys.argv", ["prepare", "--own", own, "--licence", "CC0", "--out", str(out)])
    main()
    assert LabelledTexts.read(out).split.tolist() == ["test", "train"]
    assert json.loads(out.with_suffix(".json").read_text())["posts"]["licence"] == "CC0"
    monkeypatch.setattr("sys.argv", ["prepare", "--out", str(out)])
    with pytest.raises(SystemExit):
        main()
