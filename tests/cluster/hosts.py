"""Machines to test a cluster on: with networks, processes, mounts, names and addresses of their own.

What `ip netns` and `unshare` make on Linux, as root. The processes of a machine end with the first of them,
so a power cut is one kill, and nothing is left behind however a test ends.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PORT = 6379
SHELL = 'hostname "$0" && mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && mount -t tmpfs tmpfs /dev/shm'
RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Host:
    """A machine that runs a node of Ray.

    Attributes:
        name: of its network namespace and its host name.
        address: its IP.
        link: its network device.
        process: the first of its processes, as seen from here.
    """

    name: str
    address: str
    link: str
    process: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        """The process inside, of which `process` is the parent."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return int(children.split()[0])

    def command(self, *arguments: str) -> list[str]:
        """The command that runs another on this machine."""
        return ["nsenter", "--target", str(self.pid), "--all", "--", *arguments]

    def unplug(self) -> None:
        """Cut it off: its processes live, nobody hears of them again."""
        run("ip", "-n", self.name, "link", "set", self.link, "down")

    def end(self) -> None:
        """A power cut: every process on it is killed."""
        with contextlib.suppress(OSError, IndexError):
            os.kill(self.pid, 9)
        self.process.kill()
        self.process.wait()


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """A command that must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def why_not() -> str:
    """Why there can be no such machines here; "" where there can."""
    if missing := [one for one in ("ip", "unshare", "nsenter") if shutil.which(one) is None]:
        return f"needs {', '.join(missing)}"
    name = f"t{secrets.token_hex(3)}"
    try:
        run("ip", "netns", "add", name)
    except (OSError, subprocess.SubprocessError) as error:
        return f"network namespaces are not permitted: {getattr(error, 'stderr', error)}".strip()
    try:
        run("ip", "netns", "exec", name, "unshare", *SPACES, "sh", "-c", f"{SHELL} && true", "probe")
    except (OSError, subprocess.SubprocessError) as error:
        return f"process and mount namespaces are not permitted: {getattr(error, 'stderr', error)}".strip()
    finally:
        run("ip", "netns", "del", name)
    return ""


SPACES = ("--mount", "--pid", "--fork", "--kill-child", "--uts", "--mount-proc")


def environment(folder: Path) -> dict[str, str]:
    """For all processes of the cluster: a token of its own, a home that is no one's, and nothing sent.

    A machine that falls silent, and does not hang up, is missed within seconds here; by Ray's own settings
    the driver waits up to seven minutes for it.
    """
    return os.environ | {
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_grpc_client_keepalive_time_ms": "3000",
        "RAY_grpc_client_keepalive_timeout_ms": "3000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_health_check_initial_delay_ms": "3000",
        "OMP_NUM_THREADS": "1",
    }


@contextlib.contextmanager
def two_hosts(folder: Path, env: dict[str, str]) -> Iterator[tuple[Host, Host]]:
    """A head and a worker, one core each, whose nodes of Ray know each other."""
    tag, subnet = secrets.token_hex(2), f"10.{77 + secrets.randbelow(100)}.{secrets.randbelow(250)}"
    names = (f"head{tag}", f"work{tag}")
    links = (f"h{tag}", f"w{tag}")
    addresses = (f"{subnet}.1", f"{subnet}.2")
    with contextlib.ExitStack() as stack:
        for name in names:
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
        ends = ("type", "veth", "peer", "name", links[1], "netns", names[1])
        run("ip", "link", "add", links[0], "netns", names[0], *ends)
        for name, link, address in zip(names, links, addresses, strict=True):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", link)
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", link, "up")
        made = []
        roles = (
            ("--head", f"--port={PORT}", "--include-dashboard=false"),
            (f"--address={addresses[0]}:{PORT}",),
        )
        for i, role in enumerate(roles):
            options = (*role, f"--node-ip-address={addresses[i]}", "--num-cpus=1", "--block")
            start = [RAY, "start", *options, "--object-store-memory=100000000"]
            inside = ["unshare", *SPACES, "sh", "-c", f'{SHELL} && exec "$@"', names[i], *start]
            with (folder / f"{names[i]}.log").open("wb") as log:
                process = subprocess.Popen(
                    ["ip", "netns", "exec", names[i], *inside], stdout=log, stderr=log, env=env
                )
            host = Host(names[i], addresses[i], links[i], process)
            stack.callback(host.end)
            _wait_until_started(folder / f"{names[i]}.log", process)
            made.append(host)
        yield made[0], made[1]


def _wait_until_started(log: Path, process: "subprocess.Popen[bytes]", within_s: float = 120.0) -> None:
    until = time.monotonic() + within_s
    while "Ray runtime started" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"expected Ray to start, got {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)
