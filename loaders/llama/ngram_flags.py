"""Where each kind of n-gram speculation has its two lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lengths:
    """Flag and field of the tokens that have to match, and of the tokens guessed.

    least  flag and field of the fewest tokens guessed, which must not be above the most; ("", "") without
    """

    match: tuple[str, str]
    most: tuple[str, str]
    least: tuple[str, str] = ("", "")


def _map(name: str) -> Lengths:
    flag, field = f"--spec-{name}", f"speculative.{name.replace('-', '_')}"
    return Lengths((f"{flag}-size-n", f"{field}.size_n"), (f"{flag}-size-m", f"{field}.size_m"))


LENGTHS: Mapping[str, Lengths] = {
    "ngram-simple": _map("ngram-simple"),
    "ngram-map-k": _map("ngram-map-k"),
    "ngram-map-k4v": _map("ngram-map-k4v"),
    "ngram-mod": Lengths(
        ("--spec-ngram-mod-n-match", "speculative.ngram_mod.n_match"),
        ("--spec-ngram-mod-n-max", "speculative.ngram_mod.n_max"),
        ("--spec-ngram-mod-n-min", "speculative.ngram_mod.n_min"),
    ),
}
LEAST_GUESSED = 48
"""llama.cpp's own fewest tokens of ngram-mod."""
