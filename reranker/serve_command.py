"""`reranker serve`: the services over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from reranker.inputs import PolicyOption, Reading, told, with_reading
from reranker.policy import PolicyError

MB = 2**20

HostOption = Annotated[str, typer.Option("--host", help="Address to listen at; 0.0.0.0 for every one.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65_535)]
ArmOption = Annotated[
    list[str] | None,
    typer.Option("--arm", help="A cohort and the policy that it gets: COHORT=POLICY; repeatable."),
]
ServersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Processes, each with the model and a share of the cores.")
]
CacheOption = Annotated[
    str, typer.Option("--cache", help='Where scores are kept: "memory", or redis://HOST:PORT/DB.')
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", help="Keys that clients must send, one a line; else those in RERANKER_API_KEYS."
    ),
]
OriginOption = Annotated[
    list[str] | None,
    typer.Option("--cors-origin", help="An origin whose pages may call; repeatable. Default: every one."),
]
BodyOption = Annotated[float, typer.Option("--max-body-mb", help="Larger bodies are refused.")]
ItemsOption = Annotated[int, typer.Option("--max-items", help="Requests of more candidates are refused.")]
TextOption = Annotated[int, typer.Option("--max-text-bytes", help="Requests with longer texts are refused.")]
WaitingOption = Annotated[
    int, typer.Option("--max-waiting-texts", help="Texts in the queue beyond which requests are refused.")
]
ScoreTimeoutOption = Annotated[
    float,
    typer.Option(
        "--score-timeout", help="Seconds after which a request is answered by the policy's failure rule."
    ),
]
StandInOption = Annotated[
    float,
    typer.Option(
        "--stand-in-after",
        help="Seconds that a ranking waits for the bundled model before the fast one stands in.",
    ),
]
BodyTimeoutOption = Annotated[
    float, typer.Option("--body-timeout", help="Seconds in which a client must have sent its body.")
]
FeedbackOption = Annotated[
    Path | None, typer.Option("--feedback", help="JSON lines that suggested scores are appended to.")
]
CandidatesOption = Annotated[
    Path | None,
    typer.Option("--candidates", help="File or directory of JSON lines that the Bluesky feed ranks."),
]
JetstreamOption = Annotated[
    str | None, typer.Option("--jetstream", help="WebSocket URL of the stream that adds candidates.")
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="SQLite file of the posts that came by the stream.")
]
HostnameOption = Annotated[
    str | None, typer.Option("--hostname", help="Public host name of the feed generator.")
]
PublisherOption = Annotated[
    str | None, typer.Option("--publisher", help="DID of the account that published the feeds' records.")
]


@with_reading
def serve(
    *,
    reading: Reading,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    policy: PolicyOption = "harm-aware",
    arm: ArmOption = None,
    workers: ServersOption = 1,
    cache: CacheOption = "memory",
    api_key_file: KeyFileOption = None,
    cors_origin: OriginOption = None,
    max_body_mb: BodyOption = 16.0,
    max_items: ItemsOption = 2_000,
    max_text_bytes: TextOption = 65_536,
    max_waiting_texts: WaitingOption = 5_000,
    score_timeout: ScoreTimeoutOption = 10.0,
    stand_in_after: StandInOption = 1.0,
    body_timeout: BodyTimeoutOption = 20.0,
    feedback: FeedbackOption = None,
    candidates: CandidatesOption = None,
    jetstream: JetstreamOption = None,
    store: StoreOption = None,
    hostname: HostnameOption = None,
    publisher: PublisherOption = None,
) -> None:
    """Serve rankings, scores, a Bluesky feed and the playground over HTTP."""
    try:
        from reranker.serving.launch import Launch, run  # noqa: PLC0415 - the extra may not be installed
        from reranker.serving.settings import ServeSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise PolicyError(
            f"serve: expected the extra to be installed, got no {error.name}; "
            "pip install 'harm-aware-reranker[serve]'"
        ) from None
    with told():
        settings = ServeSettings(
            policy=policy,
            arms=dict(_arm(entry) for entry in arm or ()),
            cache=cache,
            cors_origins=tuple(cors_origin or ("*",)),
            max_body_bytes=int(max_body_mb * MB),
            max_items=max_items,
            max_text_bytes=max_text_bytes,
            max_waiting_texts=max_waiting_texts,
            score_timeout_s=score_timeout,
            stand_in_after_s=stand_in_after,
            body_timeout_s=body_timeout,
            feedback=feedback,
            candidates=candidates,
            jetstream=jetstream,
            store=store,
            hostname=hostname,
            publisher=publisher,
        )
    with told():
        run(Launch(settings, reading, api_key_file, workers), host, port)


def _arm(entry: str) -> tuple[str, str]:
    cohort, _, policy = entry.partition("=")
    if not cohort or not policy:
        raise PolicyError(f"--arm: expected COHORT=POLICY, got {entry!r}")
    return cohort, policy
