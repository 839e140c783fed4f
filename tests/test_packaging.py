"""The wheel is one package, and what it costs to import."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from models.bundled import BUNDLED

ROOT = Path(__file__).parent.parent
HOSTILE = "raise ImportError('the models of somebody else')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout, as pip would build it."""
    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


def run(code: str, *, path: list[Path], cwd: Path) -> str:
    environment = {"PYTHONPATH": ":".join(map(str, path)), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_one_top_level_package_and_its_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"reranker"}
    for needed in (
        "reranker/py.typed",
        "reranker/policies/harm-aware.toml",
        "reranker/sample/phrases.toml",
        "reranker/eval/report.html.j2",
        *(f"reranker/models/pretrained/{name}/weights.safetensors" for name in BUNDLED.values()),
        "reranker/training/contrast/slots.toml",
        "reranker/training/train.py",
    ):
        assert needed in names


def test_an_installed_wheel_ranks_beside_somebody_elses_models(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
    ]
    subprocess.run([*install, str(wheel)], check=True)
    for name in ("models", "eval", "training"):
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    code = (
        "import reranker, sys\n"
        f"assert reranker.__file__.startswith({str(site)!r}), reranker.__file__\n"
        "feed = reranker.feed_from_columns({'request_id': ['r'] * 2, 'post_id': ['a', 'b'],"
        " 'text': ['Thank you for your help.', 'You are a pathetic idiot.'], 'like': [5, 9]})\n"
        "scorer = reranker.load_scorer('bundled')\n"
        "print(reranker.Reranker(reranker.load_policy('harm-aware'), scorer).rank(feed).ids())\n"
        "from reranker.cli import main\nmain(['policies', 'list'])\n"
    )
    assert run(code, path=[tmp_path, site], cwd=tmp_path).startswith("['a', 'b']")


def test_importing_the_package_reaches_neither_torch_nor_pyarrow() -> None:
    code = "import reranker, sys; print(sorted({'torch', 'pyarrow', 'numba', 'numpy'} & set(sys.modules)))"
    assert run(code, path=[ROOT], cwd=ROOT) == "[]\n"


def test_ranking_without_a_classifier_does_not_reach_torch() -> None:
    code = (
        "import sys\nfrom reranker import Reranker, feed_from_columns, load_policy\n"
        "feed = feed_from_columns({'request_id': ['r'], 'post_id': ['a'], 'like': [1]})\n"
        "Reranker(load_policy('harm-aware')).rank(feed).explain('a')\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert run(code, path=[ROOT], cwd=ROOT) == "False False\n"
