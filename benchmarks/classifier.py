"""Classifier speed beside BERT-base as Detoxify runs it, on the same texts and cores.

    python benchmarks/classifier.py [--texts FILE] [--n 2000] [--repeats 3] [--device auto] [--output FILE]

The peer has the architecture of bert-base-uncased (110 million random weights) and runs as Detoxify's
`predict` does over a list: float32, batches of 32 in order of arrival, padded to the longest, cut at 512
tokens, no settings. Both tokenise with the bundled tokenizer, and each runs in a process of its own, which
also measures the rate of a square matrix product at its precision; the share is that of the whole of
scoring, tokenising included. The peer reads every tenth text of the shuffled ones.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from timing import timed

PEER_BATCH, PEER_TOKENS = 32, 512
GEMM = 2048  # rows and columns of the square product
Engine = Callable[[list[str], int, str], dict[str, Any]]


def texts(source: Path | None, n: int) -> list[str]:
    """Distinct texts, n of them: a seeded draw from the column `text` of a parquet, or from the sample."""
    from models.normalise import normalised

    if source is None:
        from reranker.sample import make_sample

        given = make_sample().text.values
    else:
        from pyarrow.parquet import read_table

        given = read_table(source, columns=["text"]).column("text").to_pylist()
    found = [text for text in dict.fromkeys(given) if text and normalised(text)]
    order = np.random.default_rng(0).permutation(len(found))[:n]
    return [found[i] for i in order]


def run_ours(given: list[str], repeats: int, device: str) -> dict[str, Any]:
    """The bundled classifier as a user calls it."""
    from models.classifier import HarmClassifier
    from models.device import place

    classifier = HarmClassifier.load("bundled", device)
    seconds, _ = timed(lambda: classifier.score(given).probability, repeats)
    placement = place(device)
    lengths = token_lengths(given, None)
    per_token = flop_per_token(classifier.artifact.encoder)
    rate = gemm_rate(placement.precision, placement.device)
    return measured(given, seconds, lengths, per_token, rate) | {"precision": placement.precision}


def run_bert_base(given: list[str], repeats: int, device: str) -> dict[str, Any]:
    """BERT-base as Detoxify runs it."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertForSequenceClassification

    given = given[:: max(1, min(10, len(given) // 64))]
    config = BertConfig(num_labels=6)
    place = "cuda" if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()) else "cpu"
    model = BertForSequenceClassification(config).to(place).eval()
    tokenizer = Tokenizer.from_file(str(tokenizer_file()))
    tokenizer.enable_truncation(PEER_TOKENS)
    tokenizer.enable_padding()

    def work() -> np.ndarray:
        parts = []
        for start in range(0, len(given), PEER_BATCH):
            batch = tokenizer.encode_batch(given[start : start + PEER_BATCH])
            ids = torch.tensor([one.ids for one in batch], device=place)
            mask = torch.tensor([one.attention_mask for one in batch], device=place)
            with torch.no_grad():
                parts.append(torch.sigmoid(model(ids, mask)[0]).cpu().numpy())
        return np.vstack(parts)

    seconds, _ = timed(work, repeats)
    per_token, rate = flop_per_token(config.to_dict()), gemm_rate("float32", place)
    found = measured(given, seconds, token_lengths(given, PEER_TOKENS), per_token, rate)
    return found | {"precision": "float32"}


def run_fast(given: list[str], repeats: int, device: str) -> dict[str, Any]:
    """The bundled fast classifier as a user calls it; it looks tables up and has no matrix rate."""
    del device  # it runs on the CPU alone
    from models.classifier import HarmClassifier

    classifier = HarmClassifier.load("bundled-fast")
    classifier.score(given[:64])  # compiles
    seconds, _ = timed(lambda: classifier.score(given).probability, repeats)
    return measured(given, seconds, token_lengths(given, None), None, None) | {"precision": "float32"}


ENGINES: dict[str, Engine] = {"reranker": run_ours, "fast": run_fast, "bert-base": run_bert_base}


def measured(
    given: list[str], seconds: list[float], lengths: np.ndarray, per_token: float | None, rate: float | None
) -> dict[str, Any]:
    """The figures of one engine; rates count the tokens of texts, not padding."""
    middle = median(seconds)
    return {
        "n": len(given),
        "seconds": seconds,
        "posts_per_s": len(given) / middle,
        "tokens_per_s": float(lengths.sum()) / middle,
        "flop_per_s": None if per_token is None else float(lengths.sum()) * per_token / middle,
        "gemm_flop_per_s": rate,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def tokenizer_file() -> Path:
    """The tokenizer that both engines use."""
    from models.artifact import TOKENIZER
    from models.bundled import artifact_directory

    return artifact_directory("bundled") / TOKENIZER


def token_lengths(given: list[str], longest: int | None) -> np.ndarray:
    """Tokens of each text after normalisation, at most `longest`; windows' overlaps are not counted."""
    from tokenizers import Tokenizer

    from models.normalise import normalised

    tokenizer = Tokenizer.from_file(str(tokenizer_file()))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lengths = [len(one.ids) for one in tokenizer.encode_batch_fast([normalised(text) for text in given])]
    return np.minimum(lengths, longest or max(lengths))


def flop_per_token(config: dict[str, Any]) -> float:
    """Operations of the matrix products with weights, two per weight; attention itself is left out."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return float(2 * config["num_hidden_layers"] * (4 * hidden * hidden + 2 * hidden * inner))


def gemm_rate(precision: str, device: str, size: int = GEMM) -> float:
    """Operations per second of a square matrix product at a placement's precision, the best of five."""
    import torch

    if precision == "int8":
        a, b = (torch.randint(-127, 128, (size, size), dtype=torch.int8) for _ in range(2))
        multiply = torch._int_mm
    else:
        dtype = torch.float32 if precision == "float32" else torch.bfloat16
        a, b = (torch.randn(size, size).to(device, dtype) for _ in range(2))
        multiply = torch.matmul

    def work() -> np.ndarray:
        for _ in range(4):
            product = multiply(a, b)
        return product[0, :1].float().cpu().numpy()  # waits for a device

    seconds, _ = timed(work, 5)
    return 4 * 2 * size**3 / min(seconds)


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    """One line per engine, the peer last."""
    peer = rows["bert-base"]["posts_per_s"]
    print(f"{'engine':12}{'n':>7}{'posts/s':>10}{'min-max s':>16}{'tokens/s':>10}{'ratio':>8}", end="")
    print(f"{'GFLOP/s':>9}{'GEMM':>7}{'share':>7}{'peak MB':>9}")
    for name, row in rows.items():
        spread = f"{min(row['seconds']):.2f}-{max(row['seconds']):.2f}"
        print(
            f"{name:12}{row['n']:7}{row['posts_per_s']:10.1f}{spread:>16}{row['tokens_per_s']:10.0f}", end=""
        )
        print(f"{row['posts_per_s'] / peer:7.1f}x", end="")
        if row["flop_per_s"] is None:
            print(f"{'-':>9}{'-':>7}{'-':>7}", end="")
        else:
            share = row["flop_per_s"] / row["gemm_flop_per_s"]
            print(f"{row['flop_per_s'] / 1e9:9.0f}{row['gemm_flop_per_s'] / 1e9:7.0f}{share:7.0%}", end="")
        print(f"{row['peak_rss_bytes'] / 1e6:9.0f}")


def main() -> None:
    """Run every engine and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, help="parquet with a column text; the sample by default")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", choices=ENGINES)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(ENGINES[args.worker](texts(args.texts, args.n), args.repeats, args.device)))
        return
    rows = {}
    for engine in ENGINES:
        command = [sys.executable, __file__, "--worker", engine, "--n", str(args.n)]
        command += ["--repeats", str(args.repeats), "--device", args.device]
        command += ["--texts", str(args.texts)] if args.texts else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows[engine] = json.loads(done.stdout.splitlines()[-1])
    print_table(rows)
    if args.output:
        args.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
