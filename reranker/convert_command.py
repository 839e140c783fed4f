"""`reranker convert`: a table with a row per candidate as the packed log that the evaluation reads."""

from typing import Annotated, get_args

import typer

from reranker.inputs import OutputOption, check_output
from reranker.location import Location
from reranker.policy import PolicyError
from reranker.terminal import console


def convert(
    exploded: Annotated[
        Location,
        typer.Argument(
            parser=Location.of,
            help="A row per candidate: .parquet, or a directory of it; a path or a URL such as s3://.",
            show_default=False,
        ),
    ],
    *,
    output: OutputOption,
    values: Annotated[
        str, typer.Option("--values", help='Of predictions and harms: "uint8", "float16" or "float32".')
    ] = "float32",
) -> None:
    """Pack a log with a row per candidate: one request per row, quicker to read by far."""
    from reranker.exploded_logs import read_exploded  # noqa: PLC0415 - pyarrow, for this command alone
    from reranker.impression_files import write_impressions  # noqa: PLC0415
    from reranker.impression_layout import ValueType  # noqa: PLC0415
    from reranker.impressions import ImpressionLog  # noqa: PLC0415

    check_output(output, ".parquet")
    chosen: ValueType | None = next((one for one in get_args(ValueType) if one == values), None)
    if chosen is None:
        raise PolicyError(f"--values: expected one of {list(get_args(ValueType))}, got {values!r}")
    counts = {"requests": 0, "candidates": 0, "slots": 0}

    def counted(log: ImpressionLog) -> ImpressionLog:
        counts["requests"] += log.n
        counts["candidates"] += log.n_candidates
        counts["slots"] += log.n_slots
        return log

    write_impressions(map(counted, read_exploded(exploded)), output, values=chosen)
    said = ", ".join(f"{n:,} {name}" for name, n in counts.items())
    console.print(f"{said}: {output}", soft_wrap=True, markup=False, highlight=False)
