"""The one list of families. A new family is a folder beside these and a line here. No torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ml.families.gan.config import GAN
from ml.families.lstm.config import LSTM
from ml.families.spec import FamilySpec

if TYPE_CHECKING:
    from ml.families.base import Family

FAMILIES: dict[str, FamilySpec[Any]] = {spec.name: spec for spec in (LSTM, GAN)}


def load(name: str) -> "Family[Any, Any]":
    """Import a family's implementation, torch and all. Raises KeyError for a name that is not in the catalog."""
    spec = FAMILIES[name]
    module, _, attribute = spec.implementation.partition(":")
    family: Family[Any, Any] = getattr(import_module(module), attribute)(spec)
    return family
