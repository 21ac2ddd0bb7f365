"""How a version is written: `name@3`, or `name` for its active one. Pure."""

from app.core.errors import Invalid

NOTHING = "none"  # in place of a version to start from: no model has this name


def parse(reference: str, pointer: str = "/model") -> tuple[str, int | None]:
    """'name@3' -> ('name', 3); 'name' -> ('name', None). Raises Invalid, pointing at the field."""
    name, at, version = reference.partition("@")
    if not at:
        return name, None
    if not version.isdecimal() or not 0 < int(version[:11]) < 2**31:
        raise Invalid(f"{reference!r}: a version is written name@3", pointer=pointer)
    return name, int(version)
