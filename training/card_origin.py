"""What an artifact was made from, at what cost, by which commands, and how fast it is."""

from typing import Any

from models.artifact import Artifact
from training.card_markdown import ABSENT, at, number, percent, section, table

PEER = "bert-base"
WATTS_PER_PROCESS = 60
KG_CO2_PER_KWH = 0.4

_PUBLISHED = {
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": (
        "sentence-transformers/all-MiniLM-L6-v2, Apache-2.0"
    ),
    "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658": (
        "sentence-transformers/all-mpnet-base-v2, Apache-2.0"
    ),
}


def origin_sections(artifact: Artifact) -> list[str]:
    """Speed, data, cost and commands."""
    about = artifact.about
    data = _data(about["data"], about["training"])
    return [_speed(about.get("speed")), data, _cost(about["training"]), _commands(artifact)]


def starting_point(training: dict[str, Any]) -> str:
    """The weights that a training began with: published ones by name, others by digest."""
    if teacher := training.get("teacher"):
        of = f", from {_weights(digest)}" if (digest := teacher["base_encoder_sha256"]) else ""
        return f"the word vectors and scores of {teacher['name']} (digest `{teacher['digest'][:12]}`{of})"
    if earlier := training.get("started_from"):
        return f"an earlier training of {starting_point(earlier)}"
    digest = training.get("base_encoder_sha256")
    return "weights without a digest" if digest is None else _weights(digest)


def _weights(digest: str) -> str:
    return _PUBLISHED.get(digest, f"weights of sha256 `{digest[:12]}`")


def _of_the_encoder(training: dict[str, Any]) -> dict[str, Any] | None:
    """The training that made the encoder; None where published weights stayed as they are."""
    return training["started_from"] if training.get("head_alone") else training


def _speed(speed: dict[str, Any] | None) -> str:
    if not speed:
        return ""
    peer = at(speed, PEER, "posts_per_s")
    rows = [
        [
            name,
            found["precision"],
            f"{found['posts_per_s']:,.1f}",
            f"{found['posts_per_s'] / peer:.1f}" if peer else "-",
            f"{found['tokens_per_s']:,.0f}",
            percent(found["flop_per_s"] / found["gemm_flop_per_s"]) if found["flop_per_s"] else ABSENT,
            f"{found['peak_rss_bytes'] / 1e6:,.0f}",
            f"{found['n']:,}",
        ]
        for name, found in speed.items()
    ]
    head = ["engine", "precision", "posts/s", f"times {PEER}", "tokens/s", "share of GEMM rate", "peak MB"]
    return section(
        "Speed",
        f"On one machine, same texts and cores, medians. {PEER} has that architecture and is run as Detoxify "
        "runs it: float32, batches of 32. The share is of the rate of a plain matrix product at the same "
        "precision; scoring includes tokenising.",
        table([*head, "texts"], rows),
    )


def _data(data: dict[str, Any], training: dict[str, Any]) -> str:
    grouped: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, entry in data.items():
        n = entry["rows"].get("train") or sum(entry["rows"].values())
        licences = grouped.setdefault((entry["role"], entry["labelled_by"]), {})
        licences.setdefault(entry["licence"], []).append(f"{name} {n:,}")
    rows = [
        [role, by, "<br>".join(f"**{key}**: {', '.join(names)}" for key, names in sorted(licences.items()))]
        for (role, by), licences in sorted(grouped.items())
    ]
    return section(
        "Data",
        'Each set under its licence. Role "train", or "own" data: with the number of training texts, passes '
        'counted. Role "unseen": trained nothing, only measured; "natural": only calibrated and measured. '
        "The sha256 of each file is in artifact.json.",
        table(["role", "labelled by", "licence: data sets"], rows),
        _implied(training.get("n_implied", {})),
        _extra((_of_the_encoder(training) or {}).get("extra", [])),
    )


def _implied(n_implied: dict[str, int]) -> str:
    """What was added to the annotations, if anything."""
    counts = ", ".join(f"{label} {n:,}" for label, n in n_implied.items() if n)
    return counts and (
        "What is not toxic is no attack: training texts annotated as not toxic count as negatives of labels "
        f"that nobody annotated them for ({counts})."
    )


def _extra(files: list[dict[str, Any]]) -> str:
    """The texts without labels, by licence, if there were any."""
    licences: dict[str, list[str]] = {}
    for file in files:
        for name, entry in file["data"].items():
            licences.setdefault(entry["licence"], []).append(f"{name} {entry['rows']:,}")
    listed = "; ".join(f"**{key}**: {', '.join(names)}" for key, names in sorted(licences.items()))
    return listed and (
        "Besides, texts without labels, of which it learned what its teacher says (licence: data sets). "
        f"{listed}."
    )


def _cost(training: dict[str, Any]) -> str:
    if "seconds" not in training:
        return ""
    runs = _trainings(training)
    timed = [run for run in runs if "seconds" in run]
    hours = sum(run["seconds"] * run.get("n_processes", 1) for run in timed) / 3600
    kwh = hours * WATTS_PER_PROCESS / 1000
    each = "; then ".join(f"{run['seconds'] / 3600:.1f} hours{_processes(run)}" for run in timed)
    left_out = " That of the teacher is not in." if training.get("teacher") else ""
    left_out += " An earlier training was not timed and is not in." if len(timed) < len(runs) else ""
    return section(
        "Cost of training",
        "Measured wall-clock time of training, from the last start where a run was interrupted; preparing, "
        "calibrating and measuring are not in. Energy and emissions are estimates that rest on the two "
        "assumptions named.",
        f"{each}: {hours:.1f} process hours in all.{left_out} At an assumed {WATTS_PER_PROCESS} W per "
        f"process that is {kwh:.2f} kWh, and at an assumed {KG_CO2_PER_KWH} kg of CO2 per kWh "
        f"{kwh * KG_CO2_PER_KWH:.2f} kg.",
    )


def _trainings(training: dict[str, Any]) -> list[dict[str, Any]]:
    """The earlier trainings that it started from, and itself, in order."""
    earlier = training.get("started_from")
    return [*(_trainings(earlier) if earlier else []), training]


def _processes(run: dict[str, Any]) -> str:
    n = run.get("n_processes", 1)
    return f" on {n} processes" if n > 1 else " on one process"


def _commands(artifact: Artifact) -> str:
    about = artifact.about
    training, figures = about["training"], about["figures"]
    versions = ", ".join(f"{key} {value}" for key, value in training["versions"].items())
    change = number(figures.get("largest_change_by_packaging"), 4)
    lines = [
        *(f"The earlier training: {_settings(run)}." for run in _trainings(training)[:-1]),
        *(_one_of(part, len(training["averaged"])) for part in training.get("averaged", [])),
        f"{_settings(training)}.",
        f"Started from {starting_point(training)}. {_stop(training)}Versions: {versions}.",
        "All figures are of the weights as they are stored. The largest change of a probability between "
        f"measuring and loading the package as a user does is {change}.",
    ]
    return section(
        "How it was made",
        "Words in capitals are yours to fill in: DIR holds the data sets, CONFIG and PLAN are files of "
        "`training/configs`, ENCODER is what the training started from.",
        "```console\n" + "\n".join(_steps(about, artifact.name)) + "\n```",
        "\n".join(f"- {line}" for line in lines),
    )


_AVERAGE = (
    "python -m training.average --runs EARLIER RUN --examples EXAMPLES.parquet --seen EARLIER.parquet "
    "--out RUN2  # and RUN2, with its examples, from here on"
)
_EXTRA = (
    "python -m training.unlabelled --data DIR --examples EXAMPLES.parquet --out EXTRA.parquet  "
    "# or texts of your own"
)
_HEAD = (
    "python -m training.head --encoder RUN --config HEAD_CONFIG --examples EXAMPLES.parquet --out RUN2  "
    "# and RUN2 from here on"
)


def _one_of(part: dict[str, Any], n: int) -> str:
    """One of the runs whose weights were averaged."""
    return (
        f"One of {n} averaged runs{' (' + part['name'] + ')' if 'name' in part else ''}: {part['n_texts']:,} "
        f"texts, commit {part['commit']}, examples `{part['examples_sha256'][:12]}`, config "
        f"`{part['config_digest'][:12]}`"
    )


def _texts(data: dict[str, Any]) -> str:
    own = {entry["role"] == "own" for entry in data.values()}
    return " --data DIR" * (False in own) + " --own FILE" * (True in own)


def _settings(training: dict[str, Any]) -> str:
    config = ", ".join(f"{key} {value}" for key, value in training["config"].items())
    return (
        f"Commit {training['commit']}, examples `{training['examples_sha256'][:12]}`, config "
        f"`{training['config_digest'][:12]}`: {config}"
    )


def _stop(training: dict[str, Any]) -> str:
    return "Stopped early, at the best weights on dev. " if training.get("stopped_early") else ""


def _encoder_steps(training: dict[str, Any] | None) -> list[str]:
    """The commands that make the encoder; none where published weights stayed as they are."""
    if training is None:
        return []
    n_processes = training.get("n_processes", 1)
    launch = f"torchrun --nproc-per-node {n_processes}" if n_processes > 1 else "python"
    common = "--config CONFIG --examples EXAMPLES.parquet --out RUN"
    extra = bool(training.get("extra"))
    train = (
        f"python -m training.distill {common} --teacher TEACHER{' --extra EXTRA.parquet' * extra}"
        if training.get("teacher")
        else f"{launch} -m training.train {common} --encoder ENCODER"
    )
    return [_EXTRA, train] if extra else [train]


def _steps(about: dict[str, Any], name: str) -> list[str]:
    training, figures = about["training"], about["figures"]
    data = " --data DIR" if figures.get("natural") else ""
    cases = " --cases tests/data" if figures.get("functional") or figures.get("claims") else ""
    head = " --head HEAD_CONFIG" if (about.get("leave_out") or {}).get("read_layers") else ""
    extras = [
        ("floor", "python -m training.floor --examples EXAMPLES.parquet --out floor.json"),
        (
            "misinformation",
            "python -m training.misinformation --head HEAD_CONFIG --examples EXAMPLES.parquet "
            "--encoder PUBLISHED_ENCODER --out misinformation.json",
        ),
        (
            "leave_out",
            "python -m training.leave_out --config CONFIG --examples EXAMPLES.parquet --encoder "
            f"PUBLISHED_ENCODER{head} --leave A,B C --out LEFT  # and leave_out.json in LEFT",
        ),
        (
            "speed",
            "python benchmarks/classifier.py --output speed.json  # measures the bundled classifier",
        ),
    ]
    present = [(key, command) for key, command in extras if about.get(key)]
    options = "".join(f" --{key.replace('_', '-')} {key}.json" for key, _ in present)
    return [
        f"python -m training.prepare{_texts(about['data'])} --out EXAMPLES.parquet",
        *_encoder_steps(_of_the_encoder(training)),
        *([_HEAD] if training.get("head_alone") else []),
        *([_AVERAGE] if training.get("averaged") else []),
        "python -m training.calibrate --run RUN --examples EXAMPLES.parquet --plan PLAN",
        f"python -m training.evaluate --run RUN --examples EXAMPLES.parquet --plan PLAN{data}{cases}",
        *(command for _, command in present),
        f"python -m training.package --run RUN --examples EXAMPLES.parquet{options} --out {name}",
    ]
