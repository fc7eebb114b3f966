"""Polling for a result: every second at first, then less often."""

from dataclasses import dataclass

from django.http import HttpRequest

# Number of polls so far → seconds until the next one.
_DELAYS_S = ((10, 1), (25, 2), (60, 5))
_LONGEST_DELAY_S = 15
_LONGEST_NUMBER = 6


@dataclass(frozen=True)
class Watch:
    """Where to poll next, and how many polls there have been."""

    url: str
    times: int

    @property
    def delay_s(self) -> int:
        """Seconds until the next poll."""
        return next(
            (s for times, s in _DELAYS_S if self.times < times), _LONGEST_DELAY_S
        )


def poll_count(request: HttpRequest) -> int:
    """Return how many polls there have been, according to the address."""
    text = request.GET.get("times", "0")
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else 0
