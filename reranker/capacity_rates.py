"""What one core was measured to do, as a file says it: each rate with its job, machine, command and date."""

import tomllib
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reranker.columns import FeedError

RATES = Path(__file__).parent / "capacity.toml"

Basis = Literal["measured", "extrapolated", "assumed"]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(_Closed):
    """What one core does of a job in a second, and where that is from.

    Attributes:
        per_core: units per second.
        unit: what is counted, in the plural.
        up_to: the most units of one measured job.
        basis: whether it was measured.
        what: the job, and the figure as it was read.
        on: the machine.
        command: that measures it.
        date: of the measurement.
    """

    per_core: float = Field(gt=0)
    unit: str
    up_to: float = Field(ge=0)
    basis: Basis
    what: str
    on: str
    command: str
    date: date


class RateTable(_Closed):
    """A rate of each job."""

    score_default: Rate
    score_fast: Rate
    rerank: Rate
    write_log: Rate
    evaluate: Rate
    resample: Rate


class Assumed(_Closed):
    """What is assumed of the traffic and of how machines are used; capacity.toml says what each is."""

    impressions_per_post: float = Field(gt=0)
    impressions_per_user: float = Field(gt=0)
    peak_over_mean: float = Field(ge=1)
    utilisation: float = Field(gt=0, le=1)
    batch_hours: float = Field(gt=0, le=24)
    metrics: int = Field(ge=1)
    resamples: int = Field(ge=0)


class Measured(_Closed):
    """What was measured of other parts of a plan."""

    characters_per_token: float = Field(gt=0)
    evaluate_peak_mib: float = Field(gt=0)
    classifier_peak_mib: float = Field(gt=0)
    score_bytes: float = Field(gt=0)
    request_bytes: float = Field(ge=0)


class Rates(_Closed):
    """All that a plan rests on, as a file says it."""

    schema_: Literal[1] = Field(alias="schema")
    rates: RateTable
    assumed: Assumed
    measured: Measured


def read_rates(path: str | Path = RATES) -> Rates:
    """The rates of a file.

    Raises:
        FeedError: it is no such file.
    """
    try:
        given = tomllib.loads(Path(path).read_text("utf-8"))
        return Rates.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        got = "nothing" if first["type"] == "missing" else repr(first["input"])
        raise FeedError(f"{path}: {where}: expected another entry ({first['msg']}), got {got}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FeedError(f"{path}: expected TOML, got {error}") from None
