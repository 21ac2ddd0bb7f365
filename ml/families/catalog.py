"""The one list of families. A new family is a folder beside these and a line here. No torch.

A family's name may stand for several implementations, one for each kind of data: `gan` learns from pictures, and from
single numbers. The first under a name is the one that is meant where the kind of data is not known.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ml.families.density.config import DENSITY
from ml.families.gan.config import GAN
from ml.families.lstm.config import LSTM
from ml.families.spec import FamilySpec

if TYPE_CHECKING:
    from ml.families.base import Family

IMPLEMENTATIONS: dict[str, FamilySpec[Any]] = {"lstm": LSTM, "gan": GAN, "gan-number": DENSITY}
FAMILIES: dict[str, FamilySpec[Any]] = {key: spec for key, spec in IMPLEMENTATIONS.items() if key == spec.name}


def variants(name: str) -> list[FamilySpec[Any]]:
    """All implementations of the family `name`, its first one first."""
    return [spec for spec in IMPLEMENTATIONS.values() if spec.name == name]


def learns_from(name: str) -> str:
    """What the family `name` learns from, in words: "images or numbers"."""
    return " or ".join(f"{spec.modality}s" for spec in variants(name))


def key_for(name: str, modality: str) -> str:
    """The key of the implementation of `name` for this kind of data; its first one's where none learns from it.

    Raises KeyError for a name that is not in the catalog.
    """
    fitting = (key for key, spec in IMPLEMENTATIONS.items() if (spec.name, spec.modality) == (name, modality))
    return next(fitting, FAMILIES[name].name)


def load(key: str) -> "Family[Any, Any]":
    """Import an implementation, torch and all. Raises KeyError for a key that is not in the catalog."""
    spec = IMPLEMENTATIONS[key]
    module, _, attribute = spec.implementation.partition(":")
    family: Family[Any, Any] = getattr(import_module(module), attribute)(spec)
    return family
