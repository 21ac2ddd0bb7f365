"""What a family says of itself before anything is trained: its config, presets and score. No torch here.

The API validates with it, the page draws a form from it, and the trainer reads the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from ml.data.store import DatasetInfo, Modality
from ml.run import Budget

C = TypeVar("C", bound=BaseModel)


@dataclass(frozen=True)
class Preset:
    """A named set of config values with the budget that suits them."""

    description: str
    budget: Budget
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """Which metric says that one version is better than another."""

    metric: str
    higher_is_better: bool

    def better(self, new: float, old: float) -> bool:
        return new > old if self.higher_is_better else new < old


@dataclass(frozen=True)
class FamilySpec(Generic[C]):
    """A family as the catalog lists it. `resolve` fills what the config leaves to be chosen from the data's size."""

    name: str
    title: str
    modality: Modality
    Config: type[C]
    presets: Mapping[str, Preset]
    score: Score
    resolve: Callable[[C, DatasetInfo], C]
    implementation: str  # "module:Class", imported by ml.train alone

    def config(self, preset: str, overrides: Mapping[str, Any]) -> C:
        """The preset's values under the caller's own. Raises KeyError (preset), pydantic.ValidationError (values)."""
        return self.Config.model_validate({**self.presets[preset].values, **overrides})

    def budget(self, preset: str, wanted: Budget) -> Budget:
        """The wanted budget, or the preset's own when none was named."""
        return wanted if wanted.is_set else self.presets[preset].budget
