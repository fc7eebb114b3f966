"""Asking whether a result is there: every second at first, then slower."""

from dataclasses import dataclass

from django.http import HttpRequest

# How often it was asked → how many seconds until it is asked again.
_DELAYS_S = ((10, 1), (25, 2), (60, 5))
_LONGEST_DELAY_S = 15
_LONGEST_NUMBER = 6


@dataclass(frozen=True)
class Watch:
    """Where to ask, and how often that was done."""

    url: str
    times: int

    @property
    def delay_s(self) -> int:
        """Seconds until the next question."""
        return next(
            (s for times, s in _DELAYS_S if self.times < times), _LONGEST_DELAY_S
        )


def asked_times(request: HttpRequest) -> int:
    """Return how often was asked before, as the address says."""
    written = request.GET.get("times", "0")
    return (
        int(written) if written.isdecimal() and len(written) <= _LONGEST_NUMBER else 0
    )
