"""The GAN's config, presets and score. No torch: the API and the page read this."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.data import images
from ml.data.store import DatasetInfo
from ml.families.spec import FamilySpec, Preset, Score
from ml.run import Budget

SIZES = (28, 32, 48, 64)
BATCH = range(8, 32 + 1)  # real pictures an update, when left open
RATE = 1e-3  # for the largest of them
HIDDEN = 128  # for gray pictures: in colour it was not measured
FEW = 500, 2000  # training pictures: up to the first augmentation is strongest, from the second on there is none
STRONGEST = 0.6  # measured with 160 digits and 160 faces
LONG = 15  # minutes, from which on 64 pixels pay
Objective = Literal["minimax", "non-saturating", "hinge", "relativistic"]
UPDATES = 20  # an epoch at least: few pictures in large batches take hundreds of epochs to learn


class GANConfig(BaseModel):
    """A convolutional GAN. What is left empty is chosen from the pictures."""

    model_config = ConfigDict(extra="forbid")

    size: Literal[28, 32, 48, 64] | None = Field(None, description="Side of the pictures drawn, in pixels")
    colour: bool | None = Field(None, description="RGB (true) or gray (false)")
    objective: Objective = Field(
        "non-saturating", description="'minimax' is the lecture's objective as written; the others have the same goal"
    )
    labels: bool = Field(False, description="Learn the classes too, so that one can be asked for; needs labelled data")
    classes: int = Field(0, ge=0, le=1000, description="How many there are; taken from the data")
    latent: int = Field(64, ge=1, le=1024, description="Size of the latent vector z")
    channels: list[int] | None = Field(
        None, min_length=1, max_length=5, description="Channels of the generator from its coarsest layer to its finest"
    )
    hidden: int | None = Field(
        None,
        ge=0,
        le=4096,
        description="Units of a dense layer behind z, and of one before the discriminator's verdict; 0 is none",
    )
    batch_size: int | None = Field(None, ge=2, le=1024, description="Real pictures an update")
    learning_rate: float | None = Field(None, gt=0, le=1, description="Adam's rate, for both networks")
    beta1: float = Field(0.0, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    penalty: float = Field(1.0, ge=0, description="Weight of the gradient penalties R1 and R2; 0 switches them off")
    penalty_every: int = Field(8, ge=1, le=64, description="Updates between two penalties")
    augment: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of pictures moved at random, real and drawn alike, for few pictures; 0 is none",
    )
    ema: float = Field(0.995, ge=0, lt=1, description="Decay of the averaged generator, which is what is sampled")
    hold: float = Field(0.5, ge=0, le=1, description="Share of the budget before the learning rate starts to decay")
    evaluations: int = Field(10, ge=1, le=1000, description="Evaluations, spread evenly over the budget")
    patience: int = Field(0, ge=0, description="Evaluations without improvement before stopping early; 0 never stops")

    @model_validator(mode="after")
    def _layers_fit(self) -> "GANConfig":
        if self.channels is not None:
            if any(not 1 <= width <= 1024 for width in self.channels):
                raise ValueError("channels: each layer must have 1 to 1024")
            if self.size is not None and self.size % 2 ** len(self.channels):
                raise ValueError(f"channels: {self.size} cannot be halved {len(self.channels)} times")
        return self


def within(config: GANConfig, info: DatasetInfo, budget: Budget) -> GANConfig:
    """The larger size where there are the minutes to fill it with more than blobs, and the dense layers."""
    if config.hidden is None:
        config = config.model_copy(update={"hidden": 0 if _in_colour(config, info) else HIDDEN})
    large = min(info.counts.get("height", 0), info.counts.get("width", 0)) >= SIZES[-1]
    if config.size is None and config.channels is None and large and (budget.minutes or 0) >= LONG:
        return config.model_copy(update={"size": SIZES[-1]})
    return config


def resolve(config: GANConfig, info: DatasetInfo) -> GANConfig:
    """Fill in what was left open from the pictures' size, colour and number."""
    side = max(info.counts.get("height", 0), info.counts.get("width", 0))
    colour = _in_colour(config, info)
    # 32 for larger colour pictures, unless `within` said otherwise: a few minutes draw faces there, and blobs at 64.
    small = side <= 28 and not colour and 28 % 2 ** len(config.channels or ()) == 0
    size = config.size or (28 if small else 32)
    channels = config.channels or {28: [64, 32], 32: [96, 48, 24], 48: [96, 64, 32, 16], 64: [128, 96, 48, 24]}[size]
    batch = config.batch_size or _batch_size(info)
    # A small batch chosen for few pictures learns better at a rate that is as much smaller.
    rate = RATE if config.batch_size else RATE * batch / BATCH[-1]
    chosen = {
        "size": size,
        "colour": colour,
        "channels": channels,
        "hidden": config.hidden or 0,  # what does not say, is a version from before there were any
        "batch_size": batch,
        "learning_rate": config.learning_rate or rate,
        "augment": _augmentation(info) if config.augment is None else config.augment,
        "classes": (config.classes or len(info.classes)) if config.labels else 0,
    }
    return GANConfig.model_validate(config.model_dump() | chosen)


def _in_colour(config: GANConfig, info: DatasetInfo) -> bool:
    return info.counts.get("channels") == 3 if config.colour is None else config.colour


def _batch_size(info: DatasetInfo) -> int:
    count = info.counts.get("pictures")
    if count is None:  # a built-in data set that is not made yet
        return BATCH[-1]
    return min(BATCH[-1], max(BATCH[0], (count - 2 * images.held_out(count)) // UPDATES))


def _augmentation(info: DatasetInfo) -> float:
    """How strong: the fewer the training pictures, the sooner the discriminator knows them by heart."""
    count = info.counts.get("pictures")
    if count is None:
        return 0.0
    few, many = FEW
    share = (many - (count - 2 * images.held_out(count))) / (many - few)
    return round(STRONGEST * min(1.0, max(0.0, share)), 2)


GAN = FamilySpec(
    name="gan",
    title="Picture GAN",
    modality="image",
    Config=GANConfig,
    presets={
        "auto": Preset("Size, colour and layers chosen from the pictures.", Budget(minutes=4)),
        "minimax": Preset(
            "The lecture's objective as written: min over G, max over D of E[log D(x)] + E[log(1 - D(G(z)))].",
            Budget(minutes=4),
            {"objective": "minimax"},
        ),
        "quick": Preset("One minute: rough pictures, to see it move.", Budget(minutes=1), {"evaluations": 6}),
    },
    score=Score("frechet_distance", higher_is_better=False),
    architecture=("size", "colour", "latent", "channels", "hidden", "labels", "classes"),
    resolve=resolve,
    within=within,
    implementation="ml.families.gan.model:GANFamily",
)
