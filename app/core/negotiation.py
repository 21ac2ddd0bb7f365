"""Which of several media types a client would rather have (RFC 9110, section 12.5.1). Pure."""

from collections.abc import Sequence


def preferred(accept: str, offers: Sequence[str]) -> str | None:
    """The offer that `accept` rates highest, the earlier on a tie; None when it rates all at 0. Empty means any."""
    rated: list[tuple[str, float]] = []
    for part in (accept or "*/*").lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            rated.append((media, min(1.0, max(0.0, float(quality)))))
        except ValueError:
            continue

    def rate(offer: str) -> float:
        for pattern in (offer, offer.split("/")[0] + "/*", "*/*"):  # the most specific pattern decides
            found = [quality for media, quality in rated if media == pattern]
            if found:
                return max(found)
        return 0.0

    best = max(offers, key=rate)
    return best if rate(best) > 0 else None
