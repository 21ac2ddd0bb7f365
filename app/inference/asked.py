"""What a request for pictures means: which latents, of which class, in what container. Pure."""

import secrets
from collections.abc import Sequence

from app.core.errors import Invalid, NotAcceptable
from app.core.negotiation import preferred
from app.inference.picture_schemas import (
    MOST,
    MOST_STOPS,
    PICTURE_TYPES,
    GenerateRequest,
    InterpolateRequest,
    NearestRequest,
)
from ml.latents import DIGITS, MAX_ADDRESS, MAX_SEED, Child, Latent, Neighbour, Seed, parse

SOURCES = ("near", "parents", "latents", "seeds")  # whichever comes first says it alone, but latents go with seeds
SHOWN = 20  # labels that an error lists


def latents_of(body: GenerateRequest) -> tuple[Latent, ...]:
    """The latents that are meant. Raises Invalid where the fields contradict each other, or seeds run out of range."""
    given = [name for name in SOURCES if getattr(body, name) is not None]
    if given and body.seed is not None and given[0] in ("near", "parents"):
        raise Invalid(f"seed and {given[0]} both say what to draw: leave one out", pointer="/seed")
    if len(given) > 1 and given != ["latents", "seeds"]:
        raise Invalid(f"{given[0]} and {given[1]} both say what to draw: leave one out", pointer=f"/{given[1]}")
    if body.near is not None:
        distance = round(body.distance, DIGITS)
        return _checked(tuple(Neighbour(body.near, i, distance) for i in range(1, body.count + 1)), "/near")
    if body.parents is not None:
        mother, father = body.parents
        if mother == father:
            raise Invalid(f"the parents are both {mother}, and so would be every child", pointer="/parents/1")
        return _checked(tuple(Child(mother, father, i) for i in range(1, body.count + 1)), "/parents")
    if given:
        return _listed(body)
    last = MAX_SEED + 1 - body.count
    if body.seed is not None and body.seed > last:
        raise Invalid(f"{body.count} pictures from this seed on exceed {MAX_SEED}; at most {last}", pointer="/seed")
    first = secrets.randbelow(last + 1) if body.seed is None else body.seed
    return tuple(Seed(number) for number in range(first, first + body.count))


def _listed(body: GenerateRequest) -> tuple[Latent, ...]:
    latents = (*map(Seed, body.seeds or ()), *(body.latents or ()))
    held = " and ".join(name for name in ("seeds", "latents") if getattr(body, name) is not None)
    if "count" in body.model_fields_set and body.count != len(latents):
        holds = "holds" if " " not in held else "hold"
        raise Invalid(f"count is {body.count}, and {held} {holds} {len(latents)}: leave count out", pointer="/count")
    if len(latents) > MOST:
        raise Invalid(f"{held} hold {len(latents)}; at most {MOST} pictures a request", pointer="/latents")
    return latents


def _checked(latents: tuple[Latent, ...], pointer: str) -> tuple[Latent, ...]:
    """What is drawn can be asked for again. Raises Invalid."""
    if len(str(latents[-1])) > MAX_ADDRESS:
        raise Invalid(
            f"the addresses would be longer than {MAX_ADDRESS} characters; go on from a picture that is nearer a seed",
            pointer=pointer,
        )
    return latents


def stops_of(body: InterpolateRequest) -> tuple[Latent, ...]:
    """What a walk leads through. Raises Invalid when it is too few or too many."""
    stops = (*map(Seed, body.seeds), *body.latents)
    if not 2 <= len(stops) <= MOST_STOPS:
        raise Invalid(
            f"a walk leads through 2 to {MOST_STOPS} pictures; seeds and latents hold {len(stops)}", pointer="/seeds"
        )
    return stops


def parsed(address: str) -> Latent:
    """The latent of an address in a URL. Raises Invalid."""
    try:
        return parse(address)
    except ValueError as error:
        raise Invalid(str(error), pointer="/seed") from error


def one_of(body: NearestRequest) -> Latent:
    """Raises Invalid unless exactly one of seed and latent is given."""
    if body.seed is not None and body.latent is None:
        return Seed(body.seed)
    if body.latent is not None and body.seed is None:
        return body.latent
    raise Invalid("say which picture, by seed or by latent: one of them", pointer="/seed")


def label_index(labels: Sequence[str], label: str | int | None, model: str) -> int | None:
    """Which of a model's labels is meant; None when none is. Raises Invalid."""
    if label is None:
        return None
    if not labels:
        raise Invalid(f"the model {model!r} was trained without labels; leave label out", pointer="/label")
    if str(label) not in labels:
        known = ", ".join(labels[:SHOWN]) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")
        raise Invalid(f"the model {model!r} knows no label {str(label)[:100]!r}; it knows {known}", pointer="/label")
    return labels.index(str(label))


def container(accept: str, offers: Sequence[str]) -> str:
    """The media type to answer with. Raises NotAcceptable."""
    media = preferred(accept, offers)
    if media is None:
        raise NotAcceptable(f"Accept must allow one of {', '.join(offers)}")
    return media


def container_of(accept: str, body: GenerateRequest, count: int) -> str:
    """The same for /generate: single pictures, more than one, need a container that holds several."""
    single = body.layout == "grid" or count == 1
    try:
        return container(accept, PICTURE_TYPES if single else PICTURE_TYPES[2:])
    except NotAcceptable as error:
        if single:
            raise
        raise NotAcceptable(f"several individual pictures do not fit into one image; {error.detail}") from error
