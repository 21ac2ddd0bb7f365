"""How fast the service answers with words, beside a no-op endpoint and four other servers of the same model."""
