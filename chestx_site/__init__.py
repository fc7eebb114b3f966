"""The site: settings, routes, task queue and server processes."""

from chestx_site.celery import app as celery_app

__all__ = ["celery_app"]
