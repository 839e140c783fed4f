import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

import training.distill
import training.teacher
from models.artifact import write_artifact
from models.bag import BagModel
from models.calibration import Platt
from models.encoder import MultiLabelEncoder, config_of
from models.examples import LabelledTexts
from tests.tiny import labelled_texts, random_bert, word_tokenizer
from training.batches import tokenize
from training.distill import distill, word_vectors
from training.own import NOT_STATED
from training.settings import read_settings
from training.student import Student, StudentConfig, student_logits
from training.teacher import SAID, taught_loss, teacher_logits

ROOT = Path(__file__).parents[1]
PLATT = Platt(1.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.1, True, 100, 10)
WORDS = [f"w{i}" for i in range(12)]
CONFIG = StudentConfig(
    schema=1,
    seed=3,
    epochs=6,
    batch_size=16,
    max_tokens=16,
    width=8,
    filters=8,
    span=3,
    hidden=8,
    learning_rate=0.02,
    weight_decay=0.01,
    dropout=0.0,
    teacher_share=1.0,
    source_tempering=0.5,
    label_tempering=0.5,
    class_tempering=0.0,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder with a head of some strength: something to be learned, though about nothing."""
    directory = tmp_path_factory.mktemp("teacher")
    model = MultiLabelEncoder(random_bert(20), 16, 1)
    torch.nn.init.normal_(model.head.weight, std=3.0)
    torch.nn.init.zeros_(model.encoder.embeddings.position_embeddings.weight)  # the student has no places
    write_artifact(
        directory,
        {name: value.detach().numpy() for name, value in model.state_dict().items()},
        word_tokenizer(WORDS).to_str(),
        name="teacher",
        labels=("toxicity",),
        calibration=(PLATT,),
        encoder=config_of(model),
        about={},
    )
    return directory


def labelled(n: int, n_dev: int) -> LabelledTexts:
    """Texts of random words; the last are of split "dev". Humor is annotated: texts with w0."""
    rng = np.random.default_rng(0)
    words = [rng.choice(WORDS, rng.integers(2, 10)) for _ in range(n)]
    humor = np.array([float("w0" in entry) for entry in words])
    return labelled_texts(
        ("humor", "toxicity"),
        [" ".join(entry) for entry in words],
        np.column_stack([humor, np.full(n, np.nan)]),
        split=np.where(np.arange(n) < n - n_dev, "train", "dev"),
    )


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "e.parquet"
    labelled(500, 100).write(path)
    return path


def config_text(**changes: object) -> str:
    found = {name: getattr(CONFIG, name) for name in CONFIG.__dataclass_fields__} | changes
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in found.items())


def agreement(run: Path, teacher: Path, directory: Path) -> tuple[float, float]:
    """Correlations on new texts: with the teacher's logit for toxicity, with the truth for humor."""
    texts = labelled(700, 200).take(np.arange(500, 700))
    said = teacher_logits(teacher, texts, directory / SAID)
    artifact = write_artifact(
        directory / "student",
        load_file(run / "model.safetensors"),
        (run / "tokenizer.json").read_text(),
        name="student",
        labels=("humor", "toxicity"),
        calibration=(PLATT, PLATT),
        encoder=json.loads((run / "training.json").read_text())["encoder"],
        about={},
    )
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    ids = [entry.ids for entry in tokenizer.encode_batch(list(texts.text))]
    found = BagModel(directory / "student", artifact).logits(ids)
    return (
        float(np.corrcoef(found[:, 1], said[:, 1])[0, 1]),
        float(np.corrcoef(found[:, 0], texts.target[:, 0])[0, 1]),
    )


def test_the_student_learns_from_the_teacher_and_from_the_annotations(
    teacher: Path, examples: Path, tmp_path: Path
) -> None:
    distill(replace(CONFIG, epochs=12, teacher_share=0.5), examples, teacher, tmp_path / "run", device="cpu")
    with_teacher, with_truth = agreement(tmp_path / "run", teacher, tmp_path)
    assert with_teacher > 0.7
    assert with_truth > 0.8
    about = json.loads((tmp_path / "run" / "training.json").read_text())
    assert about["losses"][-1] < about["losses"][0]
    assert about["dev"] > 0.9
    assert about["teacher"]["name"] == "teacher"
    assert about["n_texts"] == 400
    assert str(tmp_path) not in json.dumps(about)


def test_the_seed_decides_the_weights(teacher: Path, examples: Path, tmp_path: Path) -> None:
    short = replace(CONFIG, epochs=1)
    for name, config in (("a", short), ("b", short), ("c", replace(short, seed=4))):
        distill(config, examples, teacher, tmp_path / name, device="cpu")
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["head.weight"], c["head.weight"])


def test_the_command_leaves_a_run(
    teacher: Path, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text(config_text(epochs=1))
    given = {"config": tmp_path / "c.toml", "examples": examples, "teacher": teacher, "out": tmp_path / "run"}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr("sys.argv", ["distill", *options, "--device", "cpu"])
    training.distill.main()
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"model.safetensors", "tokenizer.json", "training.json", SAID}


def test_texts_without_annotations_can_be_added(teacher: Path, examples: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["w1 w2", None, "w3"]}), tmp_path / "more.parquet")
    extra = [tmp_path / "more.parquet"]
    distill(replace(CONFIG, epochs=1), examples, teacher, tmp_path / "run", extra=extra, device="cpu")
    about = json.loads((tmp_path / "run" / "training.json").read_text())
    assert about["n_texts"] == 402
    assert about["extra"][0]["data"] == {"more": {"licence": NOT_STATED, "rows": 2}}
    mixed = {"text": ["w1", "w2", "w4"], "source": ["x", "x", None], "licence": ["MIT", "CC0", None]}
    pq.write_table(pa.table(mixed), tmp_path / "more.parquet")
    distill(replace(CONFIG, epochs=1), examples, teacher, tmp_path / "other", extra=extra, device="cpu")
    about = json.loads((tmp_path / "other" / "training.json").read_text())
    assert about["extra"][0]["data"] == {
        "more": {"licence": NOT_STATED, "rows": 1},
        "x": {"licence": "CC0, MIT", "rows": 2},
    }
    pq.write_table(pa.table({"body": ["w1"]}), tmp_path / "more.parquet")
    with pytest.raises(ValueError, match=r"expected a column 'text', got \['body'\]"):
        distill(CONFIG, examples, teacher, tmp_path / "run", extra=extra, device="cpu")


def test_a_teacher_that_is_no_artifact_is_refused_before_anything_is_written(
    examples: Path, tmp_path: Path
) -> None:
    (tmp_path / "training.json").write_text("{}")  # a run, not yet calibrated
    with pytest.raises(FileNotFoundError, match=r"expected a classifier \(artifact\.json is missing\)"):
        distill(CONFIG, examples, tmp_path, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_what_the_teacher_said_is_kept_and_continued(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.teacher, "_CHUNK", 4)
    texts = asked([" ".join(WORDS[i : i + 3]) for i in range(9)])
    whole = teacher_logits(teacher, texts, tmp_path / "whole")
    assert whole.shape == (9, 2)
    assert np.isnan(whole[:, 0]).all()  # it was not taught humor
    with monkeypatch.context() as death:
        death.setattr(Path, "replace", dying_after(1, Path.replace))
        with pytest.raises(KeyboardInterrupt):
            teacher_logits(teacher, texts, tmp_path / SAID)
    (first,) = (tmp_path / SAID).glob("*.safetensors")  # beside the second, written and not renamed
    save_file({"logits": whole[:4, 1:] + 1}, first)  # to see that it is read, not computed again
    for kept in (teacher_logits(teacher, texts, tmp_path / SAID) for _ in range(2)):
        np.testing.assert_array_equal(kept[:4], whole[:4] + 1)
        np.testing.assert_allclose(kept[4:], whole[4:], atol=1e-5)
    longer = teacher_logits(teacher, asked([*texts.text[:8], "w1"]), tmp_path / SAID)
    np.testing.assert_array_equal(longer[:4], whole[:4] + 1)
    other = teacher_logits(teacher, asked(list(texts.text[:2])), tmp_path / SAID)
    np.testing.assert_allclose(other, whole[:2], atol=1e-5)


def asked(text: list[str]) -> LabelledTexts:
    """Texts that nobody annotated for humor or toxicity."""
    return labelled_texts(("humor", "toxicity"), text, np.full((len(text), 2), np.nan))


def dying_after(n: int, operation: Callable[..., Path]) -> Callable[..., Path]:
    """The operation on files, which works n times and then is interrupted before it does anything."""
    left = iter(range(n))

    def tried(*arguments: Path) -> Path:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return operation(*arguments)

    return tried


def test_torch_and_the_compiled_loops_compute_the_same(tmp_path: Path, teacher: Path) -> None:
    torch.manual_seed(1)
    student = Student(CONFIG, word_vectors(teacher, 16), 2)
    for value in student.parameters():
        torch.nn.init.normal_(value, std=0.5)
    with torch.no_grad():  # what the artifact's eight bits hold
        for value in student.parameters():
            if value.ndim == 2:
                scale = (value.abs().amax(dim=1, keepdim=True) / 127).half().float()
                value.copy_((value / scale).round().clamp(-127, 127) * scale)
    artifact = write_artifact(
        tmp_path,
        {name: value.numpy() for name, value in student.state_dict().items()},
        "{}",
        name="student",
        labels=("humor", "toxicity"),
        calibration=(PLATT, PLATT),
        encoder=CONFIG.encoder,
        about={},
    )
    tokenizer = Tokenizer.from_file(str(teacher / "tokenizer.json"))
    tokens = tokenize(labelled(60, 1).text, tokenizer, max_tokens=16, pad_id=0)
    ids = [tokens.ids[a:b].tolist() for a, b in zip(tokens.offsets, tokens.offsets[1:], strict=False)]
    np.testing.assert_allclose(
        BagModel(tmp_path, artifact).logits(ids)[:, :-1], student_logits(student, tokens), atol=2e-3
    )


def test_the_loss_against_a_teacher_equals_a_sum_by_hand() -> None:
    logits, advice = torch.tensor([[0.3, 1.0], [-2.0, 0.5]]), torch.tensor([[1.5, float("nan")]] * 2)
    p, q = 1 / (1 + np.exp(-np.array([0.3, -2.0]))), 1 / (1 + np.exp(-1.5))
    by_hand = -(q * np.log(p) + (1 - q) * np.log(1 - p)).mean()
    assert float(taught_loss(logits, advice)) == pytest.approx(by_hand, rel=1e-5)
    assert float(taught_loss(logits, torch.full((2, 2), float("nan")))) == 0


def test_a_config_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(config_text())
    assert read_settings(path, StudentConfig) == CONFIG
    for changes, message in (
        ({"widht": 3}, r"unknown: \['widht'\], missing: \[\]"),
        ({"schema": 9}, "schema: expected 1, got 9"),
        ({"span": 4}, "span: expected an odd number above 0, got 4"),
        ({"filters": 0}, "filters: expected a number above 0, got 0"),
        ({"dropout": 2}, r"dropout: expected a number in \[0, 1\], got 2"),
    ):
        path.write_text(config_text(**changes))
        with pytest.raises(ValueError, match=message):
            read_settings(path, StudentConfig)
    assert read_settings(ROOT / "training" / "configs" / "fast-en.toml", StudentConfig).epochs > 0


def test_what_cannot_be_distilled_is_said(teacher: Path, examples: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="width: expected at most 16, that of the word vectors, got 17"):
        distill(replace(CONFIG, width=17), examples, teacher, tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match="expected one matrix of 20 word vectors, got none"):
        word_vectors(teacher, 21)
    texts = labelled(5, 5)
    texts.write(tmp_path / "e.parquet")
    with pytest.raises(ValueError, match="expected texts of split 'train', got none"):
        distill(CONFIG, tmp_path / "e.parquet", teacher, tmp_path / "run")
