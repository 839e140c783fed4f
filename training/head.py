"""`python -m training.head --config FILE --examples FILE --encoder DIR --out DIR`: a new last layer.

Leaves the encoder of a trained classifier as it is and fits the last layer anew, to its optimum: for each
label a logistic regression on the means of the layers that it is told to read, with an intercept for each
data set and a ridge penalty. `out` becomes a run that `training.calibrate` and what follows it read.

Source: P. Kirichenko et al., "Last layer re-training is sufficient for robustness to spurious correlations",
2023; U. Evci et al., "Head2Toe: utilizing intermediate representations for better transfer learning", 2022.
"""

import argparse
import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.artifact import MANIFEST, read_artifact
from models.device import quiet_memory
from models.encoder import config_of, reading
from models.examples import LabelledTexts
from training.command import run_command
from training.features import encoder_features
from training.implied import with_implied
from training.intercepts import SourceIntercepts, source_shares
from training.loss import balanced_weights, masked_loss
from training.provenance import commit, sha256_of, versions
from training.run import ABOUT, read_about, write_run
from training.settings import check_settings, read_settings, settings_digest
from training.start import starting_model

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_AT_MOST = 500


@dataclass(frozen=True)
class HeadConfig:
    """All that decides the head, apart from the encoder and the examples.

    `read_layers` are the layers of the encoder that it reads, by number from 1, ascending. `source_tempering`
    is that of `TrainConfig`. `ridge` times the sum of squares of a label's weights, on features of variance
    1, is added to its mean loss; `source_ridge` is that of its intercepts.

    Raises:
        ValueError: a value of another type or out of range, or another schema.
    """

    schema: int
    read_layers: tuple[int, ...]
    source_tempering: float
    ridge: float
    source_ridge: float

    def __post_init__(self) -> None:
        check_settings(
            self,
            schema=SCHEMA_VERSION,
            above_zero=("ridge", "source_ridge"),
            shares=("source_tempering",),
        )


def fit_head(
    config: HeadConfig, features: NDArray[np.float32], texts: LabelledTexts
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (L, d) and bias (L,) of a linear head on features (n, d) of these texts, float32.

    A label that nobody annotated gets zeros.
    """
    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    x = torch.from_numpy((features - mean) / scale)
    weight = balanced_weights(texts, source_tempering=config.source_tempering, label_tempering=0.0)
    weight = weight / np.maximum(weight.sum(axis=0), np.finfo(np.float32).tiny)
    target, share = torch.from_numpy(texts.target.copy()), torch.from_numpy(weight)
    names, source = np.unique(texts.source, return_inverse=True)
    rows = torch.from_numpy(source.astype(np.int64))
    own = SourceIntercepts(source_shares(share, rows, len(names)))
    head = nn.Linear(x.shape[1], len(texts.labels))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    parameters = [*head.parameters(), *own.parameters()]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=_AT_MOST, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-8
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = masked_loss(head(x) + own(rows), target, share, n_texts=1)
        found = (
            found + config.ridge * head.weight.square().sum() + config.source_ridge * own.value.square().sum()
        )
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    weights = head.weight.detach().numpy() / scale
    return weights, head.bias.detach().numpy() - weights @ mean


def refit(
    config: HeadConfig, examples: Path, encoder: str | Path, out: Path, *, device: str = "auto"
) -> None:
    """Leaves model.safetensors, tokenizer.json and training.json in `out`.

    `encoder` is a directory that `training.train` or `training.package` wrote, of any labels, or an encoder
    that transformers can load.

    Raises:
        OSError: it is none of these.
        ValueError: it is an altered artifact or a fast model, it lacks a layer, or there is no training row.
    """
    began = time.monotonic()
    texts, n_implied = with_implied(LabelledTexts.read(examples))
    train = texts.take(texts.split == "train")
    if not train.n:
        raise ValueError(f"{examples}: expected texts of split 'train', got none")
    earlier = _earlier(Path(encoder))
    model, tokenizer, digest = starting_model(str(encoder), texts.labels)
    model = reading(model, config.read_layers)
    kept = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("encoder.")}
    _log.info("features of %d texts", train.n)
    head, bias = fit_head(config, encoder_features(model, tokenizer, list(train.text), device=device), train)
    about = {
        "labels": list(texts.labels),
        "encoder": config_of(model),
        "base_encoder_sha256": digest,
        "started_from": earlier,
        "head_alone": True,
        "config": dataclasses.asdict(config),
        "config_digest": settings_digest(config),
        "examples_sha256": sha256_of(examples),
        "commit": commit(),
        "versions": versions(),
        "n_implied": n_implied,
        "n_texts": train.n,
        "seconds": round(time.monotonic() - began),
    }
    out.mkdir(parents=True, exist_ok=True)
    weights = kept | {"head.weight": torch.from_numpy(head), "head.bias": torch.from_numpy(bias)}
    tokenizer.no_truncation()
    write_run(out, weights, tokenizer.to_str(pretty=True), about)


def _earlier(directory: Path) -> dict[str, Any] | None:
    """What is known of the training of the encoder in a run or an artifact, not of a head on it.

    None of an encoder that was not trained here.
    """
    if (directory / MANIFEST).exists():
        found = read_artifact(directory).about["training"]
    elif (directory / ABOUT).exists():
        found = read_about(directory)
    else:
        return None
    while found and found.get("head_alone"):
        found = found["started_from"]
    return found and {key: value for key, value in found.items() if key not in ("losses", "encoder")}


def main() -> None:
    """Reads the arguments and fits."""
    parser = argparse.ArgumentParser(prog="training.head", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, see training/configs")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--encoder", required=True, help="run, classifier, or any encoder")
    parser.add_argument("--out", type=Path, required=True, help="directory of the new run")
    parser.add_argument("--device", default="auto", help="where the encoder runs")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    quiet_memory()
    config = read_settings(given.config, HeadConfig)
    refit(config, given.examples, given.encoder, given.out, device=given.device)


if __name__ == "__main__":
    run_command(main)
