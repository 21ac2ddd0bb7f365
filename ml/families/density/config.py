"""The one-dimensional GAN's config, presets and score. No torch: the API and the page read this."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ml.data.store import DatasetInfo
from ml.families.spec import FamilySpec, Preset, Score
from ml.run import Budget

UPDATES = 3_500


class DensityConfig(BaseModel):
    """Two small networks that learn a density of single numbers from each other."""

    model_config = ConfigDict(extra="forbid")

    objective: Literal["minimax", "non-saturating"] = Field(
        "minimax", description="'minimax' is the lecture's objective as written; the other has the same goal"
    )
    hidden: int = Field(32, ge=2, le=512, description="Width of the hidden layers, of both networks")
    layers: int = Field(2, ge=1, le=5, description="Hidden layers of each network")
    batch_size: int = Field(256, ge=2, le=8192, description="Real numbers an update of D")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="Adam's rate, for the generator")
    discriminator_steps: int = Field(
        3, ge=1, le=16, description="Updates of D for one of G: k of Goodfellow's algorithm"
    )
    discriminator_rate: float = Field(5.0, gt=0, le=100, description="D's rate, as a multiple of learning_rate")
    beta1: float = Field(0.0, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    ema: float = Field(0.998, ge=0, lt=1, description="Decay of the averaged generator, which is what is drawn from")
    hold: float = Field(0.3, ge=0, le=1, description="Share of the budget before the learning rate decays to 0")
    evaluations: int = Field(10, ge=1, le=1000, description="Evaluations and figures, spread evenly over the budget")
    patience: int = Field(0, ge=0, description="Evaluations without improvement before stopping early; 0 never stops")


def resolve(config: DensityConfig, info: DatasetInfo) -> DensityConfig:
    """Nothing is left open."""
    return config


# The picture GAN's names of presets: a client that offers those can send them with any data set.
DENSITY = FamilySpec(
    name="gan",
    title="The lecture's one-dimensional GAN",
    modality="number",
    Config=DensityConfig,
    presets={
        "auto": Preset(
            "The lecture's objective, min over G, max over D, until D = 1/2: some seconds.", Budget(steps=UPDATES)
        ),
        "minimax": Preset("The same by its name.", Budget(steps=UPDATES), {"objective": "minimax"}),
        "quick": Preset("A third of the updates, to see it move.", Budget(steps=UPDATES // 3)),
    },
    score=Score("ks_distance", higher_is_better=False),
    architecture=("hidden", "layers"),
    resolve=resolve,
    implementation="ml.families.density.model:DensityFamily",
    evaluates_at_start=True,
)
