"""Classifier speed beside the usual transformers loop on the same weights.

    python benchmarks/classifier.py [--texts 2000] [--repeats 3] [--device auto] [--output FILE]

The peer is what most code does: the same encoder in float32, texts in the order in which they come, padded
to the longest of each batch of 64, no memory settings, in a process of its own. Ours sorts by length, runs
in bfloat16 where the hardware has it, and keeps freed memory. Both read the synthetic sample's texts and
must agree to 0.05 in every probability.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
from timing import timed

ENGINES = ("reranker", "transformers float32")
BATCH = 64


def texts(n: int) -> list[str]:
    """The first n distinct texts of the sample that the classifier serves."""
    from models.normalise import normalised
    from reranker.sample import make_sample

    feed = make_sample()
    english = {language: code for code, language in enumerate(feed.language.values)}["en"]
    rows = np.flatnonzero(feed.language.codes == english)
    found = dict.fromkeys(normalised(text) for row in rows if (text := feed.text[int(row)]))
    return [text for text in found if text.strip()][:n]


def run_ours(given: list[str], repeats: int, device: str) -> tuple[list[float], np.ndarray]:
    """Seconds per repeat and the first label's probabilities."""
    from models.classifier import HarmClassifier
    from models.scores import Content

    classifier = HarmClassifier.load("bundled", device)
    content = Content.of_texts(given)
    return timed(lambda: classifier.score(content, batch_size=BATCH).probability, repeats)


def run_peer(given: list[str], repeats: int, device: str) -> tuple[list[float], np.ndarray]:
    """The plain loop."""
    import torch
    from tokenizers import Tokenizer

    from models.artifact import TOKENIZER, read_artifact, read_weights
    from models.calibration import calibrated
    from models.classifier import BUNDLED
    from models.encoder import from_config

    directory = Path(__file__).parent.parent / "models" / "pretrained" / BUNDLED
    artifact = read_artifact(directory)
    model = from_config(artifact.encoder, len(artifact.labels))
    model.load_state_dict({k: torch.from_numpy(v) for k, v in read_weights(directory).items()})
    place = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    model = model.float().to(place).eval()
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    tokenizer.enable_truncation(artifact.max_tokens)
    tokenizer.enable_padding()

    def work() -> np.ndarray:
        parts = []
        for start in range(0, len(given), BATCH):
            batch = tokenizer.encode_batch(given[start : start + BATCH])
            ids = torch.tensor([one.ids for one in batch], device=place)
            mask = torch.tensor([one.attention_mask for one in batch], device=place)
            with torch.no_grad():
                parts.append(model(ids, mask).double().cpu().numpy())
        return calibrated(np.vstack(parts), artifact.calibration)[0]

    return timed(work, repeats)


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker")
    args = parser.parse_args()
    given = texts(args.texts)
    if args.worker:
        run = run_ours if args.worker == ENGINES[0] else run_peer
        seconds, result = run(given, args.repeats, args.device)
        print(json.dumps({"engine": args.worker, "seconds": seconds, "result": result.round(4).tolist()}))
        return
    rows = []
    for engine in ENGINES:
        command = [sys.executable, __file__, "--worker", engine, "--texts", str(args.texts)]
        command += ["--repeats", str(args.repeats), "--device", args.device]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    results = [np.array(row.pop("result")) for row in rows]
    ours = median(rows[0]["seconds"])
    print(f"{len(given)} texts, {args.repeats} repeats, device {args.device}")
    print(f"{'engine':24}{'texts/s':>9}{'min-max s':>16}{'/ ours':>9}")
    for row in rows:
        middle, spread = median(row["seconds"]), f"{min(row['seconds']):.2f}-{max(row['seconds']):.2f}"
        print(f"{row['engine']:24}{len(given) / middle:9.0f}{spread:>16}{middle / ours:8.2f}x")
    gap = float(np.abs(results[0] - results[1]).max())
    print(f"largest difference of a probability: {gap:.4f}")
    if args.output:
        args.output.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(0 if gap < 0.05 else 1)


if __name__ == "__main__":
    main()
