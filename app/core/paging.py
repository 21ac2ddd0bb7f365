"""Lists in pages: `?limit=&after=`, the last one's id being the next page's `after`. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from app.core.errors import Invalid

T = TypeVar("T")


def page(items: Sequence[T], key: Callable[[T], str], limit: int, after: str | None) -> tuple[Sequence[T], str | None]:
    """The entries behind the one whose key is `after`, and the next page's `after` (None on the last page)."""
    start = 0
    if after is not None:
        keys = [key(item) for item in items]
        if after not in keys:
            raise Invalid(f"there is no entry {after!r} in this list", pointer="/after")
        start = keys.index(after) + 1
    shown = items[start : start + limit]
    return shown, key(shown[-1]) if start + limit < len(items) else None
