"""What one GPU does: posts/s, its share of the peak, candidates x policies/s of the ranking, and memory.

    python benchmarks/gpu.py [--device auto] [--model bundled] [--tokens 64] [--repeats 3] [--output FILE]

Finds the GPU by itself; without one it says so and measures the CPU at a small size. Texts are distinct and
cut to `--tokens` tokens. "posts/s" is all of scoring as a user calls it, from text to calibrated
probability; "engine" is the forward pass alone, from token ids. The peak is that of a square matrix product
at the same precision in the same run; the share counts the products with weights, two operations a weight,
not attention. "a core second" is by the seconds of the process, which other jobs of the machine do not
lengthen; on a GPU it says what the host has to do beside it. The ranking reads codes of a byte that lie on
the device, and must agree with the compiled loop of the CPU to 1e-6 in float64. Give "posts/s" at 64
tokens to `reranker plan --gpu-posts-per-s`.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from classifier import flop_per_token, gemm_rate

POOL, ACTIONS, HARMS, SLOTS, POLICIES = 200, 10, 4, 10, 8
SEEN = [0.8**k for k in range(SLOTS)]
SIZES = {  # texts, candidates, rows of the square product
    "cuda": (200_000, 20_000_000, 8192),
    "cpu": (300, 200_000, 1024),
}


def found_device(asked: str) -> str:
    """The device to measure; says so where there is no GPU."""
    import torch

    if asked == "auto" and not torch.cuda.is_available():
        print("no CUDA device: the same measurements on the CPU, at a small size")
        return "cpu"
    return "cuda" if asked == "auto" else asked


def made_texts(n: int, n_tokens: int) -> list[str]:
    """Distinct texts of about `n_tokens` tokens, special ones included, from sentences of the sample."""
    from tokenizers import Tokenizer

    from models.artifact import TOKENIZER
    from models.bundled import artifact_directory
    from reranker.sample import make_sample

    tokenizer = Tokenizer.from_file(str(artifact_directory("bundled") / TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    given = [text for text in dict.fromkeys(make_sample().text.values) if text]
    rng = np.random.default_rng(0)
    longest = 2 + n_tokens // 16  # sentences; the sample's have some 27 tokens
    made = []
    for start in range(0, n, 10_000):
        drawn = rng.integers(0, len(given), (min(10_000, n - start), longest))
        joined = [" ".join(given[i] for i in row) for row in drawn]
        for text, one in zip(joined, tokenizer.encode_batch(joined), strict=True):
            made.append(text[: one.offsets[n_tokens - 2][1]] if len(one.ids) > n_tokens else text)
    return made


def clocked(work: Callable[[], Any], repeats: int, device: str) -> dict[str, float]:
    """Median seconds of the clock, seconds of the process in a run, and the largest memory."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    work()  # does not count
    before = time.process_time()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    cpu = (time.process_time() - before) / repeats
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": median(seconds), "cpu_seconds": cpu, "peak_mib": peak / 2**20}


def classifier_rows(args: argparse.Namespace, device: str, size: tuple[int, int, int]) -> dict[str, Any]:
    """Scoring and the forward pass."""
    from classifier import token_lengths

    from models.bundled import artifact_directory
    from models.classifier import HarmClassifier
    from models.device import place

    classifier = HarmClassifier.load(args.model, device)
    given = made_texts(args.n or size[0], args.tokens)
    lengths = token_lengths(given, None)
    found: dict[str, Any] = {"n_texts": len(given), "distinct": len(set(given))}
    found |= {"tokens": float(lengths.mean()), "model": classifier.name}
    found["unscored"] = int(np.isnan(classifier.score(given[:1000]).probability[:, 0]).sum())
    found["scoring"] = clocked(lambda: classifier.score(given), args.repeats, device)
    if classifier.artifact.encoder.get("model_type") == "harm-bag":
        return found  # looks tables up: no forward pass on a device, no matrix rate
    from tokenizers import Tokenizer

    from models.artifact import TOKENIZER
    from models.forward import LogitModel

    directory, placement = artifact_directory(args.model), place(device)
    engine = LogitModel(directory, classifier.artifact, placement)
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    tokenizer.no_padding()
    ids = [one.ids for one in tokenizer.encode_batch_fast(given)]
    found["engine"] = clocked(lambda: engine.logits(ids), args.repeats, device)
    rate = gemm_rate(placement.precision, device, args.gemm or size[2])
    per_text = flop_per_token(classifier.artifact.encoder) * float(lengths.mean())
    found |= {"precision": placement.precision, "gemm_flop_per_s": rate}
    for name in ("scoring", "engine"):
        found[name]["share_of_peak"] = per_text * len(given) / found[name]["seconds"] / rate
    return found


def ranking_rows(args: argparse.Namespace, device: str, n: int) -> dict[str, Any]:
    """The ranking in float64 and float32, and the compiled loop on one thread of the CPU beside it."""
    import torch

    from eval.hashing import user_keys
    from eval.slates import PackedRequests, WeightPolicies
    from eval.slates import measure_slates as measure_compiled
    from reranker.torch_ranking import DevicePolicies, DeviceRequests, measure_slates

    rng = np.random.default_rng(0)
    r = max(1, n // POOL)
    p_harm = rng.integers(0, 200, (HARMS, r * POOL), dtype=np.uint8)
    p_harm[rng.random(p_harm.shape) < 0.02] = 255
    batch = PackedRequests(
        user=user_keys(np.arange(r)),
        segment=np.zeros(r, dtype=np.int32),
        offsets=np.arange(r + 1) * POOL,
        actions=tuple(f"a{i}" for i in range(ACTIONS)),
        p_action=rng.integers(1, 200, (ACTIONS, r * POOL), dtype=np.uint8),
        harms=tuple(f"h{i}" for i in range(HARMS)),
        p_harm=p_harm,
        multiplier=rng.choice([0.3, 0.5, 1.0], r * POOL),
    )
    curves = np.tile([[0.2, 0.8, 0.3]], (POLICIES, HARMS, 1))
    policies = WeightPolicies(
        tuple(f"p{i}" for i in range(POLICIES)),
        rng.uniform(0, 5, (POLICIES, ACTIONS)),
        np.full(POLICIES, np.inf),
        curves,
    )
    given = (batch.offsets, batch.p_action, batch.p_harm, batch.multiplier)
    requests = DeviceRequests(*(torch.from_numpy(values.copy()).to(device) for values in given))
    few = PackedRequests(**{**vars(batch), **_first(batch, min(r, 10_000))})
    expected = measure_compiled(few, policies, SEEN)
    found: dict[str, Any] = {"candidates": r * POOL, "policies": POLICIES}
    for name, numbers in (("float64", torch.float64), ("float32", torch.float32)):
        own = DevicePolicies(
            *(
                torch.from_numpy(values.copy()).to(device, numbers)
                for values in (policies.weights, policies.cap, policies.curves)
            )
        )

        def work(own: DevicePolicies = own) -> np.ndarray:
            return measure_slates(requests, own, SEEN)[:1].cpu().numpy()  # waits for the device

        found[name] = clocked(work, args.repeats, device)
        shown = measure_slates(requests, own, SEEN)[: few.n].double().cpu().numpy()
        found[name]["largest_difference"] = float(np.abs(shown - expected)[..., :-2].max())
        found[name]["other_slates"] = float((shown != expected)[..., -2].mean())
    found["compiled, 1 thread of CPU"] = clocked(
        lambda: measure_compiled(few, policies, SEEN), args.repeats, "cpu"
    ) | {"candidates": few.n * POOL}
    return found


def _first(batch: Any, r: int) -> dict[str, Any]:
    c = r * POOL
    return {
        "user": batch.user[:r],
        "segment": batch.segment[:r],
        "offsets": batch.offsets[: r + 1],
        "p_action": batch.p_action[:, :c],
        "p_harm": batch.p_harm[:, :c],
        "multiplier": batch.multiplier[:c],
    }


def print_rows(found: dict[str, Any]) -> None:
    """The figures as a table."""
    texts, ranking = found["classifier"], found["ranking"]
    about = f"{texts['n_texts']:,} texts of {texts['tokens']:.1f} tokens, {texts['distinct']:,} distinct"
    print(f"{found['device']}: {texts['model']}, {texts.get('precision', 'tables')}; {about}")
    print(f"{'':28}{'rate/s':>16}{'a core second':>16}{'of peak':>9}{'peak MiB':>10}")
    for name, label in (("scoring", "posts, text to score"), ("engine", "posts, engine alone")):
        if name in texts:
            row = texts[name]
            share = f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else "-"
            rate, own = texts["n_texts"] / row["seconds"], texts["n_texts"] / row["cpu_seconds"]
            print(f"{label:28}{rate:16,.0f}{own:16,.0f}{share:>9}{row['peak_mib']:10,.0f}")
    if "gemm_flop_per_s" in texts:
        print(f"matrix product, {texts['precision']}: {texts['gemm_flop_per_s'] / 1e12:.2f} TFLOP/s")
    for name in ("float64", "float32", "compiled, 1 thread of CPU"):
        row = ranking[name]
        work = row.get("candidates", ranking["candidates"]) * ranking["policies"]
        label = f"cand.policies, {name}" if name.startswith("float") else name
        rate, own = work / row["seconds"], work / row["cpu_seconds"]
        print(f"{label:28}{rate:16,.0f}{own:16,.0f}{'-':>9}{row['peak_mib']:10,.0f}")
    for name in ("float64", "float32"):
        row = ranking[name]
        print(
            f"{name}: largest difference to the compiled loop {row['largest_difference']:.1e}, "
            f"other slates {row['other_slates']:.2%}"
        )


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help='"auto", "cuda[:n]" or "cpu"')
    parser.add_argument("--model", default="bundled", help='"bundled", "bundled-fast" or a directory')
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--n", type=int, help="texts")
    parser.add_argument("--candidates", type=int)
    parser.add_argument("--gemm", type=int, help="rows and columns of the square product")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    from models.device import quiet_memory

    quiet_memory()  # before the first import of torch
    import torch

    device = found_device(args.device)
    size = SIZES[device.split(":")[0]]
    found = {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU",
        "torch": torch.__version__,
        "classifier": classifier_rows(args, device, size),
        "ranking": ranking_rows(args, device, args.candidates or size[1]),
    }
    print_rows(found)
    if args.output:
        args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    exact = found["ranking"]["float64"]["largest_difference"] <= 1e-6
    raise SystemExit(0 if exact else "float64 differs from the compiled loop by more than 1e-6")


if __name__ == "__main__":
    main()
