"""The site: settings, routes, the queue, and the processes that serve them."""

from chestx_site.celery import app as celery_app

__all__ = ["celery_app"]
