"""Where a model runs and in which precision, decided in one place and logged.

glibc may return every large activation to the kernel, and fetching it again costs page faults: on one 2-core
machine more than the computing itself. `quiet_memory` prevents that. It is called before torch is imported,
because the OpenMP setting counts only then.
"""

import ctypes
import logging
import os
import platform
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 1 << 30
_BF16_CPU_FLAGS = {"amx_bf16", "avx512_bf16"}
_INT8_CPU_FLAGS = {"avx512_vnni", "avx512_bf16"}  # and no AMX, whose bfloat16 is several times quicker
_TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 131_072}  # what a cache holds, and what fills a large device


@dataclass(frozen=True)
class Placement:
    """A torch device and the precision of the matrix products on it ("int8", "bfloat16" or "float32").

    "int8" is that of classifiers on disk whose architecture is BERT (models.packed_int8); what else runs
    there is bfloat16.
    """

    device: str
    precision: str

    @property
    def dtype(self) -> "torch.dtype":
        """The torch dtype of weights and numbers, where the matrix products are not int8."""
        import torch  # noqa: PLC0415 - this module is read before torch may be imported

        return torch.float32 if self.precision == "float32" else torch.bfloat16

    @property
    def tokens_at_once(self) -> int:
        """The number of tokens, padding included, of one forward pass."""
        return _TOKENS_AT_ONCE[self.device.split(":")[0]]


def quiet_memory() -> bool:
    """Keeps freed memory in this process, and lets idle OpenMP threads sleep; True where glibc took it.

    Call before torch is first imported; later, the OpenMP setting no longer counts. A setting of
    OMP_WAIT_POLICY made by the user stays. Does nothing off glibc.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES) and libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))


def n_cores() -> int:
    """The CPU cores that this process may run on."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone knows
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def share_cores(n_processes: int) -> None:
    """Leaves torch and the tokenizer of this process its share of the cores, at least one.

    Call before torch is first imported; later it no longer counts.
    """
    threads = str(max(1, n_cores() // n_processes))
    os.environ |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}


def place(device: str = "auto") -> Placement:
    """The device and precision to use: CUDA before CPU for "auto".

    On CUDA bfloat16 where the hardware has it. On a CPU int8 where that multiplies int8 quicker than
    bfloat16, bfloat16 where it has AMX, and float32 otherwise.

    Raises:
        ValueError: the device is not there, or is neither "auto", "cpu" nor "cuda[:n]".
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f'device: expected "auto", "cpu" or "cuda[:n]", got {device!r}')
    chosen = device if device == "cpu" else _found(device)  # a CPU is there: no need for torch to say so
    placement = Placement(chosen, cpu_precision(_cpu_flags()) if chosen == "cpu" else _cuda_precision())
    _log.info("device %s, precision %s", placement.device, placement.precision)
    return placement


def _found(device: str) -> str:
    """What "auto" is here, and any other device as it is."""
    import torch  # noqa: PLC0415 - this module is read before torch may be imported

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.cuda.is_available():
        raise ValueError(
            f"device: expected a device of this machine, got {device!r} but CUDA is not available"
        )
    number = device.partition(":")[2]
    if number and int(number) >= torch.cuda.device_count():
        raise ValueError(
            f"device: expected one of {torch.cuda.device_count()} CUDA devices from 0 on, got {device!r}"
        )
    return device


def cpu_precision(flags: Collection[str]) -> str:
    """The precision that a CPU with these flags (as Linux names them) multiplies quickest in."""
    if set(flags) >= _INT8_CPU_FLAGS and "amx_bf16" not in flags:
        return "int8"
    return "float32" if _BF16_CPU_FLAGS.isdisjoint(flags) else "bfloat16"


def _cuda_precision() -> str:
    import torch  # noqa: PLC0415 - this module is read before torch may be imported

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"


def _cpu_flags() -> list[str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return []
    return next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "").split()
