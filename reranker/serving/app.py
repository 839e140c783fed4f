"""`create_app`: the contracts put together into one ASGI application."""

from fastapi import FastAPI

from models.scores import Scorer
from reranker.serving.service import Service
from reranker.serving.settings import ServeSettings


def create_app(settings: ServeSettings, scorer: Scorer | None) -> FastAPI:
    """The application; its `state.service` is what the routers use.

    Args:
        settings: limits, files and names.
        scorer: estimates harm from text and links; None serves every ranking without.
    """
    app = FastAPI(title="harm-aware reranker")
    app.state.service = Service(settings, scorer)
    return app
