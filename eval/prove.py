"""The estimators against a known truth: many logs of the test-bed, each evaluated as a user would.

    python -m eval.prove --replicates 400 --seed 1 -o docs/proof.md

Every log is written down as soon as it is evaluated, in a file named after all that decides the result (code,
sizes, seed): an interruption loses one log, and a change of the code starts anew.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eval.proof import GateVerdict, Replicate, SettingProof, Truth, summarise
from eval.proof_page import bars, markdown
from eval.trial import CHUNK, SETTINGS, Setting, Sizes, pooled, replicate, truth_part
from reranker.writing import atomic

WORK = Path("runs/prove")
_SOURCES = (
    "broken_logs", "browsing", "clustered", "expected_views", "mean_weight", "off_policy", "ope", "overlap",
    "propensity", "simulate/behaviour", "simulate/testbed", "simulate/world", "support", "trial", "weights",
)  # fmt: skip
Row = Mapping[str, Any]


def prove(
    sizes: Sizes, settings: Sequence[Setting] = SETTINGS, *, work: Path | None = None, jobs: int = 1
) -> tuple[SettingProof, ...]:
    """The tables of every setting.

    Args:
        sizes: see `Sizes`.
        settings: of `SETTINGS`.
        work: a folder that keeps what is done and is looked at before anything is done again; None keeps
            nothing.
        jobs: processes; the result is the same with any number.
    """
    n_parts = max(1, -(-sizes.n_truth // CHUNK))
    truths = [_Task(one, "truth", i) for one in settings for i in range(n_parts)]
    # all settings in turn, so that what is done so far can be looked at
    logs = [_Task(one, "log", i) for i in range(sizes.replicates) for one in settings]
    rows = _rows([*truths, *logs], sizes, work, jobs)
    return tuple(
        summarise(
            one.name,
            [_replicate(rows[task]) for task in logs if task.setting == one],
            pooled([_truth(rows[task]) for task in truths if task.setting == one]),
            sizes.n_users,
        )
        for one in settings
    )


@dataclass(frozen=True)
class _Task:
    setting: Setting
    kind: Literal["truth", "log"]
    number: int

    def line(self, sizes: Sizes) -> str:
        """What comes of it, as JSON."""
        made = (truth_part if self.kind == "truth" else replicate)(self.setting, self.number, sizes)
        return json.dumps(
            [self.setting.name, self.kind, self.number, asdict(made)], default=np.ndarray.tolist
        )


def _rows(tasks: Sequence[_Task], sizes: Sizes, work: Path | None, jobs: int) -> dict[_Task, Row]:
    """What comes of each task: read where it is kept, else made, and kept before the next one is."""
    path = None if work is None else work / f"{digest(sizes)[:16]}.jsonl"
    kept = {} if path is None else _kept(path)
    names = {(task.setting.name, task.kind, task.number): task for task in tasks}
    rows = {task: kept[key] for key, task in names.items() if key in kept}
    left = [task for task in tasks if task not in rows]
    with ExitStack() as stack:
        file = None if path is None else stack.enter_context(path.open("a", encoding="utf-8"))
        lines: Iterable[str] = (task.line(sizes) for task in left)
        if jobs > 1:
            pool = stack.enter_context(get_context("spawn").Pool(jobs))
            lines = pool.imap(partial(_Task.line, sizes=sizes), left)
        for task, line in zip(left, lines, strict=True):
            rows[task] = json.loads(line)[3]
            if file is not None:
                file.write(line + "\n")
                file.flush()
                sys.stderr.write(
                    f"{len(rows)} of {len(tasks)}: {task.kind} {task.number}, {task.setting.name}\n"
                )
    return rows


def _kept(path: Path) -> dict[tuple[str, str, int], Row]:
    """The rows of a file, whose last line may be cut off: it is taken out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    whole = path.read_text("utf-8").rpartition("\n")[0]
    with atomic(path) as temporary:
        temporary.write_text(whole + "\n" if whole else "", "utf-8")
    lines = (json.loads(line) for line in whole.splitlines())
    return {(setting, kind, number): row for setting, kind, number, row in lines}


def digest(sizes: Sizes) -> str:
    """sha256 of all that decides a row: the code, the worlds and the sizes, but not how many rows."""
    here = Path(__file__).parent
    code = [(here / f"{name}.py").read_bytes() for name in _SOURCES]
    world = [one.parameters().digest + repr(one.parameters()) for one in SETTINGS]
    drawn = repr(replace(sizes, replicates=0, n_truth=min(sizes.n_truth, CHUNK)))
    return sha256(b"".join(code) + repr((world, drawn)).encode()).hexdigest()


def _replicate(row: Row) -> Replicate:
    arrays = ("value", "standard_error", "relative", "relative_error", "independence_z")
    values = {name: np.array(row[name]) for name in arrays}
    broken = {kind: _verdicts(found) for kind, found in row["broken"].items()}
    return Replicate(**{**row, **values, "verdicts": _verdicts(row["verdicts"]), "broken": broken})


def _verdicts(found: Row) -> dict[str, GateVerdict]:
    return {name: (status, tuple(codes)) for name, (status, codes) in found.items()}


def _truth(row: Row) -> Truth:
    arrays = ("logger", "difference", "standard_error")
    return Truth(**{**row, **{name: np.array(row[name]) for name in arrays}})


def write(proofs: Sequence[SettingProof], sizes: Sizes, path: Path) -> None:
    """The page, and beside it the same as JSON."""
    day = datetime.now(UTC).date().isoformat()
    found = {
        "date": day,
        "digest": digest(sizes),
        "sizes": asdict(sizes),
        "bars": [asdict(one) for one in bars(proofs)],
        "settings": [asdict(one) for one in proofs],
    }
    with atomic(path) as temporary:
        temporary.write_text(markdown(proofs, sizes, day), "utf-8")
    with atomic(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prove, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m eval.prove", description="estimators against the truth")
    parser.add_argument("--replicates", type=int, default=Sizes.replicates, help="logs of each setting")
    parser.add_argument("--seed", type=int, default=Sizes.seed)
    parser.add_argument("--truth", type=int, default=Sizes.n_truth, help="users that the truth is drawn from")
    parser.add_argument("--users", type=int, default=Sizes.n_users, help="users of each log")
    parser.add_argument("--work", type=Path, default=WORK, help="folder that keeps what is done")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/proof.md"))
    given = parser.parse_args(arguments)
    sizes = Sizes(given.replicates, given.users, n_truth=given.truth, seed=given.seed)
    write(prove(sizes, work=given.work, jobs=given.jobs), sizes, given.output)


if __name__ == "__main__":
    main()
