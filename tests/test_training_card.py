import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.artifact import TOKENIZER, WEIGHTS, Artifact
from models.calibration import Platt
from models.taxonomy import family
from training.card import write_card
from training.card_calibration import FIGURE, write_reliability
from training.card_markdown import number, percent, section, signed, table

SERVED = ("toxicity", "identity_attack", "misinformation", "antivax")
NUMBER = re.compile(r"\d[\d,]*\.?\d*")


def complete() -> dict[str, Any]:
    """What every command of `training` would leave for a card, with invented figures."""
    about: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "card_about.json").read_text())
    return about


def artifact(about: dict[str, Any]) -> Artifact:
    return Artifact(
        name="tiny-en",
        labels=SERVED,
        calibration=tuple(Platt(1.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.1, True, 10, 2) for _ in SERVED),
        languages=("en",),
        max_tokens=128,
        encoder={"model_type": "bert", "num_hidden_layers": 6, "hidden_size": 384},
        files={WEIGHTS: "w", TOKENIZER: "t"},
        about=about,
        familiar_up_to=1.5,
    )


def card(about: dict[str, Any], directory: Path) -> str:
    write_card(artifact(about), 23_400_000, directory / "README.md")
    return (directory / "README.md").read_text(encoding="utf-8")


def numbers_in(found: object) -> set[float]:
    if isinstance(found, dict):
        return set().union(*map(numbers_in, found.values())) if found else set()
    if isinstance(found, list):
        return set().union(*map(numbers_in, found)) if found else set()
    return {float(found)} if isinstance(found, int | float) else set()


def test_every_number_to_read_first_is_one_of_the_json(tmp_path: Path) -> None:
    about = complete()
    text = card(about, tmp_path)
    rows = text.split("## Read this first")[1].split("\n## ")[0].splitlines()
    cells = [cell for row in rows if row.startswith("| ") for cell in row.split(" | ")[1:]]
    shown = {
        float(value.replace(",", ""))
        for cell in cells
        for value in NUMBER.findall(re.sub(r"group\d+|%", "", cell))
    }
    known = numbers_in(about)
    allowed = {round(value, digits) for value in known for digits in (0, 3)}
    allowed |= {float(f"{100 * 0.913:.0f}"), 30.0}  # a share in per cent; 432 / 14.4
    assert len(shown) > 25
    assert shown <= allowed


def test_what_must_be_known_comes_first_with_what_to_compare_it_to(tmp_path: Path) -> None:
    text = card(complete(), tmp_path)
    for row in (
        "| toxicity, held-out Wikipedia comments, AUROC | 0.971 ± 0.012 | TF-IDF 0.903 |",
        "| toxicity, comments as they come, AUROC | 0.931 ± 0.014 | Perspective 0.917 |",
        "| identity_attack, mean of 2 unseen sources, AUROC |",
        "| misinformation, politifact headlines, AUROC | 0.832 ± 0.012 | no words 0.764 |",
        "| antivax, mean of 2 unseen sources, AUROC |",
        "| 1 graded labels, unseen sources, mean AUROC | 0.911 | Spearman 0.411 |",
        "| ECE of toxicity, held-out texts (0 is perfect) | 0.021 | worst label 0.051 (antivax) |",
        "| fairness: worst BPSN AUROC by identity term | 0.861 | on sentences naming group0 |",
        "| 640 functional cases, AUROC | 0.877 | 91% of contrast pairs in order |",
        "| speed of reranker | 432 posts/s | 30 times bert-base |",
    ):
        assert row in text
    assert text.index("## Read this first") < text.index("## Limits") < text.index("## Calibration")


def test_each_section_that_was_measured_is_there(tmp_path: Path) -> None:
    text = card(complete(), tmp_path)
    for expected in (
        "| forum | 321 | 0.733 (0.665, +0.068) |",
        "| toxicity (weakly tested) | 0.911 | 0.411 | 0.578 | 0.454 | 0.62, 0.70 | 300 | 4 |",
        "- humor: AUROC 0.601 on unseen sources, below 0.65",
        f"({FIGURE})",
        "The other 2 kinds: AUROC 0.500 to 0.520.",
        "| news that just broke | +0.30 | 0.40 | 60 |",
        "The other 3 kinds: 60% to 70% right.",
        "power mean of all 14 terms",
        "| vernacular less standard English, harmless |",
        "| cats | 0.83 | 0.04 | 0.50 | 30 | 31 |",
        "| leetspeak | 0.880 | -0.070 |",
        "| reranker | float32 | 432.0 | 30.0 |",
        "| train | people | **MIT**: web 5, toxigen_annotated 1 |",
        "torchrun --nproc-per-node 2 -m training.train",
        "by choice, so that\n  transfer is measured on more platforms, forum.",
        "| elsewhere | 0.710 |",
        "| **mean of all 2 sets** | 0.710 |",
    ):
        assert expected in text
    assert "group12" not in text  # only the worst terms are listed
    assert "4.0 process hours" in text  # 7200 s on each of two processes
    assert "0.24 kWh" in text  # 4 h of 60 W
    assert "0.10 kg" in text  # at 0.4 kg a kWh


def test_the_reliability_figure_lies_beside_the_card_and_stays_small_with_every_label(tmp_path: Path) -> None:
    card(complete(), tmp_path)
    assert (tmp_path / FIGURE).read_bytes().startswith(b"\x89PNG")
    names = family("toxicity") + family("misinformation")
    assert write_reliability(
        {"labels": dict.fromkeys(names, complete()["figures"]["labels"]["toxicity"])},
        names,
        tmp_path / "all.png",
    )
    assert (tmp_path / "all.png").stat().st_size <= 60_000


def test_sources_left_out_stand_beside_tfidf_in_the_labels_of_toxicity_alone(tmp_path: Path) -> None:
    text = card(complete(), tmp_path)
    found = text[text.index("## Training sources, each left out") :].split("\n## ")[0]
    assert "in 2 trainings of 1 epoch without: wiki, pairs; gab." in found
    assert "| wiki | 0.955 (0.916, +0.039) |" in found
    assert "| gab | 0.851 |" in found
    assert "| **mean** | 0.903 |" in found
    assert "civic" not in found


def test_a_card_without_optional_measurements_leaves_their_sections_out(tmp_path: Path) -> None:
    about = complete()
    for name in ("floor", "speed"):
        about[name] = None
    del about["misinformation"]
    del about["leave_out"]
    kept = {"labels", "annotated", "shift"}
    about["figures"] = {name: found for name, found in about["figures"].items() if name in kept}
    about["figures"]["annotated"] = {"labels": {}, "mean": {"n_labels": 0}}
    about["figures"]["shift"] = {"labels": {}, "mean_ece": None}
    for found in about["figures"]["labels"].values():
        found["calibration"] = {"ece": None, "n": 5, "n_positive": 0}
        found["unseen"] = {"mean_of_sources": None, "sources": {}}
    del about["training"]["seconds"]
    text = card(about, tmp_path)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == [
        "Read this first",
        "What it is for, and what it must not be used for",
        "Limits, and who may be harmed",
        "How well it orders texts",
        "Labels not served, and why",
        "Calibration",
        "Data",
        "How it was made",
    ]
    assert "--floor" not in text
    assert "--cases" not in text
    assert not (tmp_path / FIGURE).exists()


def test_a_classifier_of_another_kind_has_no_sentence_about_labels_it_does_not_serve(tmp_path: Path) -> None:
    about = complete()
    figures = about["figures"]
    about["figures"] = {"labels": {"humor": figures["labels"]["toxicity"]}} | {
        name: figures[name] for name in ("annotated", "shift")
    }
    found = replace(
        artifact(about),
        labels=("humor",),
        calibration=artifact(about).calibration[:1],
        encoder={"model_type": "harm-bag"},
        familiar_up_to=None,
    )
    del about["training"]["base_encoder_sha256"], about["training"]["n_processes"]
    about["training"]["teacher"] = {"name": "large-en", "digest": "d" * 64, "base_encoder_sha256": None}
    write_card(found, 1_000_000, tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "A small network of type harm-bag, trained from the word vectors and scores of large-en" in text
    assert "training.distill --config CONFIG --examples EXAMPLES.parquet --out RUN --teacher TEACHER" in text
    assert "That of the teacher is not in." in text
    assert "**Misinformation**" not in text
    assert "**Familiarity**" not in text
    assert "slur" not in text


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (
            {"base_encoder_sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
            "from sentence-transformers/all-MiniLM-L6-v2, Apache-2.0)",
        ),
        ({"base_encoder_sha256": "b" * 64}, "from weights of sha256 `bbbbbbbbbbbb`)"),
        ({"base_encoder_sha256": None}, "from weights without a digest)"),
    ],
)
def test_the_start_is_named_and_an_earlier_training_is_counted(
    start: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    about = complete()
    about["training"] |= start
    assert expected in card(about, tmp_path)
    earlier = copy.deepcopy(about["training"]) | {"seconds": 3600, "n_processes": 1}
    about["training"]["started_from"] = earlier
    text = card(about, tmp_path)
    assert f"an earlier training {expected}" in text.replace("training of", "training from")
    assert "The earlier training: Commit abc" in text
    assert "1.0 hours on one process; then 2.0 hours on 2 processes: 5.0 process hours" in text
    del earlier["seconds"]
    assert "4.0 process hours in all. An earlier training was not timed" in card(about, tmp_path)


def test_the_commands_are_those_that_exist(tmp_path: Path) -> None:
    about = complete()
    part = {key: about["training"][key] for key in ("commit", "config_digest", "examples_sha256", "n_texts")}
    about["training"]["averaged"] = [part | {"name": "first"}, part]
    about["training"] |= {"head_alone": True, "started_from": copy.deepcopy(about["training"])}
    commands = card(about, tmp_path).split("```console\n")[1].split("\n```")[0]
    wanted = re.findall(r"-m (training\.\w+) (.*)", commands)
    assert [name for name, _ in wanted] == [
        f"training.{name}"
        for name in (
            *(
                "prepare",
                "train",
                "head",
                "average",
                "calibrate",
                "evaluate",
                "floor",
                "misinformation",
                "leave_out",
                "package",
            ),
        )
    ]
    assert "One of 2 averaged runs (first)" in card(about, tmp_path)
    for name, options in wanted:
        source = Path(__file__).parents[1].joinpath(*name.split(".")).with_suffix(".py").read_text()
        for option in re.findall(r"--[a-z-]+", options):
            assert f'"{option}"' in source, f"{name} {option}"


def test_what_was_added_to_the_annotations_is_said(tmp_path: Path) -> None:
    about = complete()
    assert "nobody annotated them for" not in card(about, tmp_path)
    about["training"]["n_implied"] = {"insult": 1200, "identity_attack": 0}
    assert "labels that nobody annotated them for (insult 1,200)." in card(about, tmp_path)


def test_a_label_that_is_not_served_is_not_among_what_to_read_first(tmp_path: Path) -> None:
    about = complete()
    served = replace(artifact(about), labels=SERVED[:2], calibration=artifact(about).calibration[:2])
    write_card(served, 1, tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    first = text.split("## Read this first")[1].split("\n## ")[0]
    assert "identity_attack, mean of" in first
    assert "misinformation, " not in first
    assert "antivax, " not in first


def test_texts_without_labels_are_named_with_their_licences(tmp_path: Path) -> None:
    about = complete()
    about["training"]["teacher"] = {"name": "large", "digest": "0" * 64, "base_encoder_sha256": "b" * 64}
    text = card(about, tmp_path)
    assert "scores of large (digest `000000000000`, from weights of sha256 `bbbbbbbbbbbb`)" in text
    assert "--extra" not in text
    page = {"licence": "MIT", "rows": 1500}
    about["training"]["extra"] = [
        {"sha256": "1" * 64, "data": {"pages": page, "forum": page | {"rows": 20}}},
        {"sha256": "2" * 64, "data": {"mine": {"licence": "CC0", "rows": 3}}},
    ]
    text = card(about, tmp_path)
    assert "(licence: data sets). **CC0**: mine 3; **MIT**: pages 1,500, forum 20." in text
    assert "--teacher TEACHER --extra EXTRA.parquet" in text
    assert "python -m training.unlabelled --data DIR" in text


def test_a_misinformation_head_by_kind_of_text_and_relatives_left_out_have_their_place(
    tmp_path: Path,
) -> None:
    about = complete()
    assert "relatives" not in card(about, tmp_path)
    figures = about["misinformation"]["sets"]["elsewhere"] | {"by_kind": {"encoder": 0.76}}
    about["misinformation"]["sets"]["elsewhere"] = figures
    about["misinformation"] |= {"apart": {"elsewhere": figures | {"by_kind": {"encoder": 0.74}}}}
    about["misinformation"]["mean_apart"] = {"by_kind": {"encoder": 0.75}}
    text = card(about, tmp_path)
    assert "| elsewhere | 0.710 | 0.640 | 0.580 | 0.710 | 0.640 | 0.580 | 0.760 |" in text
    assert (
        "| elsewhere, its relatives left out too | 0.710 | 0.640 | 0.580 | 0.710 | 0.640 | 0.580 | 0.740 |"
        in text
    )
    assert "| mean, relatives left out too | - | - | - | - | - | - | 0.750 |" in text


def test_trainings_without_a_source_say_by_which_code(tmp_path: Path) -> None:
    about = complete()
    assert "by an earlier state of the training code" in card(about, tmp_path)
    assert "last layer fitted anew" not in card(about, tmp_path)
    about["leave_out"]["read_layers"] = [3, 4]
    assert ", each with a last layer fitted anew to layers 3, 4, without: " in card(about, tmp_path)
    about["leave_out"]["commit"] = "0ddba11"
    assert "by commit 0ddba11 of the training code" in card(about, tmp_path)


def test_own_data_are_named_in_the_first_command(tmp_path: Path) -> None:
    about = complete()
    about["data"]["mine"] = about["data"]["web"] | {"role": "own"}
    assert "training.prepare --data DIR --own FILE --out" in card(about, tmp_path)
    about["data"] = {"mine": about["data"]["mine"]}
    assert "training.prepare --own FILE --out" in card(about, tmp_path)


def test_a_card_names_no_path_of_the_machine(tmp_path: Path) -> None:
    text = card(complete(), tmp_path)
    assert str(tmp_path) not in text
    assert str(Path(__file__).parents[1]) not in text
    assert str(Path.home()) not in text


def test_tables_leave_out_empty_columns_and_numbers_are_rounded() -> None:
    assert table(["a", "b", "c"], [["1", "-", "x"], ["2", "-", "-"]]).splitlines() == [
        "| a | c |",
        "| --- | --- |",
        "| 1 | x |",
        "| 2 | - |",
    ]
    assert table(["a"], []) == ""
    assert section("Title", "How.", "", "") == ""
    assert section("Title", "How.", "", "x") == "## Title\n\nHow.\n\nx\n"
    assert [number(None), number(float("nan")), number(0.12345), number(2.0, 1)] == ["-", "-", "0.123", "2.0"]
    assert [signed(0.1), signed(-0.1, 1), signed(None)] == ["+0.100", "-0.1", "-"]
    assert [percent(0.0123), percent(0.5)] == ["1.2%", "50%"]
