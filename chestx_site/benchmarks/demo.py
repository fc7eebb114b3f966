"""A demo to measure, and a client that waits for results."""

from __future__ import annotations

import contextlib
import http.client
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.utils.translation import gettext

from chestx_site.benchmarks.figures import BenchmarkError
from chestx_site.demo import DEMO_PATIENTS, LOADED
from chestx_site.supervision.processes import wait_until
from chestx_site.testbed.clients import FINISHED, RestClient
from chestx_site.testbed.site import Site, SiteError, temporary_folder

_LONGEST_START_S = 300.0
_LONGEST_STOP_S = 30.0
_LONGEST_READING_S = 120.0
# On the site and on what the demo has printed.
Condition = Callable[[Site, bytes], bool]
WaitForDemo = Callable[[Condition, float], None]
# Polling costs the server time too, so it is no finer than it needs to be.
_POLL_S = 0.02


@contextlib.contextmanager
def running_demo(say: Callable[[str], None]) -> Iterator[Site]:
    """Run `manage.py demo`; yield it when its own patients are read.

    Raises:
        BenchmarkError: It does not start; the message has the end of its log.
    """
    # As the demo says it in the same language.
    loaded = (LOADED % {"what": DEMO_PATIENTS}).encode()

    def all_is_read(site: Site, log: bytes) -> bool:
        if loaded not in log:
            return False
        try:
            return RestClient(site).is_idle()
        except (OSError, http.client.HTTPException, SiteError):
            return False

    with started_demo(say) as (site, wait_for):
        wait_for(all_is_read, 1.0)
        yield site


@contextlib.contextmanager
def started_demo(
    say: Callable[[str], None],
) -> Iterator[tuple[Site, WaitForDemo]]:
    """Start `manage.py demo` in an empty folder, and stop it at the end.

    Yields:
        Its site, and a function that waits until a condition holds, looking again
        after so many seconds. It raises a BenchmarkError with the end of the log if
        the demo ends or the condition does not hold in time.
    """
    with temporary_folder("chestx-bench-") as folder:
        site = Site(
            folder / "var",
            # Empty: the demo starts its own servers.
            {
                "DATABASE_URL": "",
                "DATABASE_OWNER_URL": "",
                "REDIS_URL": "",
                "SIGN_IN_FAILURES": "100",
            },
        )
        say(gettext("Starting a demo on port %(port)d") % {"port": site.port})
        log = folder / "demo.log"
        demo = site.program("demo", "manage.py", "demo", log=log)
        # After SIGKILL it could not stop its own children.
        demo.death_signal = signal.SIGTERM
        demo.stop_timeout_s = _LONGEST_STOP_S

        def wait_for(holds: Condition, every_s: float) -> None:
            in_time = wait_until(
                lambda: not demo.is_alive() or holds(site, log.read_bytes()),
                timeout_s=_LONGEST_START_S,
                interval_s=every_s,
            )
            if not in_time or not demo.is_alive():
                message = gettext(
                    "The demo did not start. The end of its log:\n%(log)s"
                )
                raise BenchmarkError(message % {"log": demo.log_tail(lines=20)})

        try:
            demo.start()
            yield site, wait_for
        finally:
            demo.stop()


class ReadingClient(RestClient):
    """A REST client that waits until its images are read."""

    def send(self, name: str, content: bytes, **fields: str) -> str:
        """Upload one image and return the id of its prediction.

        Raises:
            BenchmarkError: The image is not stored, or no model reads it.
        """
        [image] = self.upload([(name, content)], **fields)
        if image["outcome"] != "stored" or not image["predictions"]:
            message = gettext("%(file)s was not stored for a model: %(answer)s")
            raise BenchmarkError(message % {"file": name, "answer": image})
        return str(image["predictions"][0]["id"])

    def result(self, prediction_id: str, *, poll_s: float = _POLL_S) -> dict[str, Any]:
        """Wait for the stored result of a prediction and return it.

        Raises:
            BenchmarkError: There is no result in time, or it is not a success.
        """
        end = time.monotonic() + _LONGEST_READING_S
        while time.monotonic() < end:
            prediction = self.get(f"/api/v1/predictions/{prediction_id}/")
            if prediction["status"] in FINISHED:
                if prediction["status"] != "succeeded":
                    message = gettext("An image was not read: %(answer)s")
                    raise BenchmarkError(message % {"answer": prediction})
                return dict(prediction)
            time.sleep(poll_s)
        message = gettext("No result after %(seconds)d s")
        raise BenchmarkError(message % {"seconds": _LONGEST_READING_S})
