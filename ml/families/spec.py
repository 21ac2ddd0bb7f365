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


class BaseConflict(ValueError):
    """An override that contradicts the version to start from; `field` names it."""

    def __init__(self, field: str, wanted: Any, has: Any) -> None:
        self.field = field
        super().__init__(f"{field} is fixed by the base, which has {has!r}; leave it out instead of {wanted!r}")


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

    def as_good(self, new: float, best: float, chance: float) -> bool:
        """Whether `new` is better, or worse by chance alone."""
        return self.better(new, best) or abs(new - best) <= chance


@dataclass(frozen=True)
class Starter:
    """The shipped model that a run of the preset "auto" starts from by itself, where `Family.fits` says so."""

    model: str
    values: Mapping[str, Any]  # of the config of such a run, under the caller's own


@dataclass(frozen=True)
class FamilySpec(Generic[C]):
    """A family as the catalog lists it. `resolve` fills what the config leaves to be chosen from the data's size."""

    name: str
    title: str
    modality: Modality
    Config: type[C]
    presets: Mapping[str, Preset]
    score: Score
    architecture: tuple[str, ...]  # config fields that give the weights their shapes and meaning
    resolve: Callable[[C, DatasetInfo], C]
    implementation: str  # "module:Class", imported by ml.train alone
    within: Callable[[C, DatasetInfo, Budget], C] | None = None  # fills in what the budget decides, before `resolve`
    evaluates_at_start: bool = False  # before the first update too: the beginning is worth seeing
    fine_tuning_rate: float = 1.0  # share of the usual learning rate at which a base is not forgotten
    starter: Starter | None = None

    def config(self, preset: str, overrides: Mapping[str, Any]) -> C:
        """The preset's values under the caller's own. Raises KeyError (preset), pydantic.ValidationError (values)."""
        return self.Config.model_validate({**self.presets[preset].values, **overrides})

    def continue_config(self, base_config: Mapping[str, Any], preset: str, overrides: Mapping[str, Any]) -> C:
        """The same when starting from a version's weights: its `base_config` decides on the architecture.

        Raises BaseConflict for an override that says otherwise, and what `config` raises.
        """
        fixed = {name: base_config[name] for name in self.architecture if name in base_config}
        for name, has in fixed.items():
            wanted = overrides.get(name)
            if wanted is not None and wanted != has:
                raise BaseConflict(name, wanted, has)
        return self.config(preset, {**overrides, **fixed})

    def settle(
        self,
        preset: str,
        overrides: Mapping[str, Any],
        info: DatasetInfo,
        base_config: Mapping[str, Any] | None = None,
        budget: Budget = Budget(),  # noqa: B008  # frozen
    ) -> C:
        """The config to train with, nothing left open; with a base and no rate named, that of fine-tuning."""
        if base_config is None:
            config = self.config(preset, overrides)
        else:
            config = self.continue_config(base_config, preset, overrides)
        if self.within is not None:
            chosen = self.within(config, info, self.budget(preset, budget))
            kept = {} if base_config is None else {name: getattr(config, name) for name in self.architecture}
            config = chosen.model_copy(update=kept)
        config = self.resolve(config, info)
        if base_config is None or overrides.get("learning_rate") is not None:
            return config
        rate: float = config.model_dump()["learning_rate"]
        return config.model_copy(update={"learning_rate": self.fine_tuning_rate * rate})

    def budget(self, preset: str, wanted: Budget) -> Budget:
        """The wanted budget, or the preset's own when none was named."""
        return wanted if wanted.is_set else self.presets[preset].budget
