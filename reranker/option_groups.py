"""Options that several commands share and that make one value together, declared once."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


def options_as(parameter: str, make: Callable[..., object]) -> Callable[[Command], Command]:
    """A decorator: the command with the options of `make` in place of its parameter of that name.

    What the options say is made before the command runs, so that a bad one is told first.
    """

    def decorate(command: Command) -> Command:
        given = inspect.signature(command, eval_str=True).parameters
        options = inspect.signature(make, eval_str=True).parameters

        @functools.wraps(command)
        def run(**values: Any) -> None:
            made = make(**{name: values.pop(name) for name in options})
            command(**values, **{parameter: made})

        parameters = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for one in (*(one for name, one in given.items() if name != parameter), *options.values())
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate
