"""`Launch`: all that a process needs to serve, and how processes of their own get it.

With several workers each process reads it from an environment variable, as JSON. Keys are not in there: each
process reads them from their file or from `RERANKER_API_KEYS`.
"""

import json
import logging
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import TypeAdapter
from uvicorn.config import STARTUP_FAILURE

from models.artifact import read_artifact
from models.bundled import artifact_directory
from models.device import share_cores
from models.scores import Scorer
from reranker.inputs import SPEEDS, Reading
from reranker.load import LoadError
from reranker.policy import PolicyError
from reranker.presets import load_policy
from reranker.serving.app import create_app
from reranker.serving.logs import log_to_stderr
from reranker.serving.metrics import SHARED
from reranker.serving.protocol import TimedHttp
from reranker.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

VARIABLE = "RERANKER_SERVE"
KEYS_VARIABLE = "RERANKER_API_KEYS"
HEALTHCHECK_S = 60  # a process that loads a model answers its parent late
MOST_CONNECTIONS = 2_000
KEEP_ALIVE_S = 65  # longer than clients and load balancers (60) keep one: who closes first meets no request


@dataclass(frozen=True)
class Launch:
    """What `reranker serve` was asked for."""

    settings: ServeSettings
    reading: Reading
    key_file: Path | None = None
    n_workers: int = 1

    def app(self) -> FastAPI:
        """The application with its model loaded.

        Raises:
            LoadError: the model or the ratings cannot be used.
            PolicyError: the policy of an arm, or a key, cannot be used.
            OSError: the file of keys cannot be read.
        """
        settings = replace(self.settings, api_keys=read_keys(self.key_file))
        scorer, stand_in = self.reading.scorer(), self._stand_in()
        decided_by = json.dumps(self.reading.decided_by(self.reading.placement()))
        return create_app(settings, scorer, decided_by=decided_by, stand_in=stand_in)

    def _stand_in(self) -> Scorer | None:
        """The fast bundled model beside the default one, with the stated shares of the labels it serves."""
        if (self.reading.model, self.reading.speed) != ("bundled", "default"):
            return None
        served = read_artifact(artifact_directory(SPEEDS["fast"])).labels
        shares = tuple(entry for entry in self.reading.prevalence if entry.partition("=")[0] in served)
        sample = self.reading.prevalence_sample if shares else None
        return replace(self.reading, speed="fast", prevalence=shares, prevalence_sample=sample).scorer()


_JSON = TypeAdapter(Launch)


def read_keys(key_file: Path | None) -> tuple[str, ...]:
    """The API keys: one a line in the file, or in `RERANKER_API_KEYS` with spaces or commas between.

    Raises:
        PolicyError: the file has no key.
        OSError: it cannot be read.
    """
    if key_file is None:
        return tuple(os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split())
    lines = key_file.read_text("utf-8").splitlines()
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise PolicyError(f"{key_file}: expected at least one key, one a line, got none")
    return keys


def run(launch: Launch, host: str, port: int) -> None:
    """Serves until the process is told to end; requests that have begun are finished.

    Raises:
        LoadError, PolicyError, OSError: see `Launch.app`.
    """
    for spec in (launch.settings.policy, *launch.settings.arms.values()):
        load_policy(spec)
    read_keys(launch.key_file)
    if launch.n_workers == 1:
        app = launch.app()
        log_to_stderr()  # from here on: what could not be started is told in one plain line
        _serve(app, launch, host, port)
        return
    log_to_stderr()
    with tempfile.TemporaryDirectory(prefix="reranker-metrics-") as shared:
        os.environ[VARIABLE] = _JSON.dump_json(launch, exclude={"settings": {"api_keys"}}).decode()
        os.environ.setdefault(SHARED, shared)
        _serve(f"{__name__}:app_of_worker", launch, host, port)


def _serve(app: FastAPI | str, launch: Launch, host: str, port: int) -> None:
    uvicorn.run(
        app,
        factory=isinstance(app, str),
        host=host,
        port=port,
        workers=launch.n_workers,
        http=TimedHttp,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_worker_healthcheck=HEALTHCHECK_S,
        timeout_graceful_shutdown=int(launch.settings.score_timeout_s + launch.settings.body_timeout_s) + 1,
    )


def app_of_worker() -> FastAPI:
    """The application of one of several processes; ends the process where it cannot serve."""
    launch: Launch = _JSON.validate_json(os.environ[VARIABLE])
    share_cores(launch.n_workers)
    log_to_stderr()
    try:
        return launch.app()
    except (LoadError, ValueError, OSError) as error:
        logger.error("%s", error)
        sys.exit(STARTUP_FAILURE)
