"""Compiled loops of the int8 encoder: a process that compiles them and one that finds them compiled agree."""

import os
import subprocess
import sys
from pathlib import Path

PASS = """
from hashlib import sha256

import numpy as np

from models.int8_kernels import KEPT, Head, Linear, Norm, Product, Rows
from models.int8_kernels import add_norm, attend, gelu, read_out, write_rows

rng = np.random.default_rng(0)
n, width = 200, 64


def empty(width):
    return Rows(np.zeros((n, width), np.int8), np.zeros(n, np.float32), np.zeros((n, KEPT), np.int32),
                np.zeros((n, KEPT), np.float32))


def product(rows, out):
    levels = rng.integers(-127, 128, (rows.levels.shape[1], out)).astype(np.int8)
    scale, bias = rng.uniform(1e-3, 2e-3, out), rng.normal(size=out)
    linear = Linear(levels, scale.astype(np.float32), bias.astype(np.float32))
    return Product(rows.levels.astype(np.int32) @ levels.astype(np.int32), rows, linear)


state = rng.normal(size=(n, width)).astype(np.float32)
rows, seen, inner = empty(width), empty(width), empty(4 * width)
lengths = np.array([30, 70, 100])
texts = np.stack([np.cumsum([0, *lengths[:-1]]), lengths], axis=1)
ones = np.ones(width, np.float32)
write_rows(state, rows)
attend(product(rows, 3 * width), texts, 2, seen)
add_norm(product(seen, width), Norm(ones, ones, np.float32(1e-12)), state, rows)
gelu(n, product(rows, 4 * width), inner)
head = Head(rng.normal(size=(30, width)).astype(np.float32), rng.normal(size=30).astype(np.float32))
logits = np.zeros((len(texts), 30), np.float32)
read_out(state, texts, head, logits)
parts = (state, logits, *rows, *seen, *inner)
print(sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest())
"""


def test_loops_just_compiled_and_loaded_from_the_cache_give_the_same_bits(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run(
            [sys.executable, "-c", PASS], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc")), "expected compiled loops in the cache"
    assert found[0] == found[1]
