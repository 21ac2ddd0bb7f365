"""Makes methods of the functions in `calls`: each signature and docstring is written once, for both clients."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)


def with_self(method: F, make: Callable[..., Any], skip: int = 0) -> F:
    """Give `method` the name, the docstring and, behind `self`, the parameters of `make` but the first `skip`."""
    method.__name__, method.__doc__ = make.__name__, make.__doc__
    parameters = list(inspect.signature(make).parameters.values())[skip:]
    # What `make` returns is a Call, which the method's caller never sees.
    signature = inspect.Signature([SELF, *parameters])
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method
