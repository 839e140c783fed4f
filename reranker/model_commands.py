"""`reranker models COMMAND`: what a classifier serves, and its form for other tools."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from models.artifact import Artifact, read_artifact
from models.bundled import artifact_directory
from models.device import quiet_memory
from models.taxonomy import TAXONOMY_VERSION, label
from reranker.load import LoadError
from reranker.terminal import console

models_app = typer.Typer(help="Classifiers on disk.", no_args_is_help=True)

_FIGURES = {
    "AUROC": ("in_domain", "auroc"),
    "AUROC unseen": ("unseen", "auroc"),
    "ECE": ("calibration", "ece"),
    "prevalence": ("calibration", "prevalence"),
}


@models_app.command("show")
def show_command(
    model: Annotated[str, typer.Argument(help='"bundled" or the path of a classifier.')] = "bundled",
) -> None:
    """Print what a classifier serves, and how well."""
    with _told():
        directory = artifact_directory(model)
        artifact = read_artifact(directory)
    size = sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
    console.print(f"[bold]{artifact.name}[/bold]  digest {artifact.digest}", highlight=False, soft_wrap=True)
    console.print(
        f"taxonomy {TAXONOMY_VERSION}, languages {', '.join(artifact.languages)}, "
        f"{artifact.max_tokens} tokens at a time, {size / 1e6:.1f} MB",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_labels(artifact))


@models_app.command("export")
def export_command(
    output: Annotated[Path, typer.Argument(help="A new directory.", show_default=False)],
    model: Annotated[str, typer.Option("--model", help='"bundled" or the path of a classifier.')] = "bundled",
) -> None:
    """Write a classifier as a transformers model, with its calibration in the head."""
    quiet_memory()  # before the first import of torch
    from models.export import write_transformers  # noqa: PLC0415 - see above

    with _told():
        write_transformers(model, output)
    console.print(f"written: {output}", highlight=False, soft_wrap=True)


def _labels(artifact: Artifact) -> Table:
    """One row per label; AUROC on held-out rows of the training sources and on sources not trained on."""
    table = Table("label", "family", *_FIGURES, box=None)
    for name in artifact.labels:
        figures = [_figure(artifact.about, name, *keys) for keys in _FIGURES.values()]
        table.add_row(name, label(name).family, *("-" if x is None else f"{x:.3f}" for x in figures))
    return table


def _figure(about: dict[str, Any], name: str, *keys: str) -> float | None:
    """A figure of one label as the training left it; None where it was not measured."""
    found: Any = about
    for key in ("figures", "labels", name, *keys):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, int | float) else None


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with a classifier, as bad input to the command line."""
    try:
        yield
    except ValueError as error:
        raise LoadError(str(error)) from None
