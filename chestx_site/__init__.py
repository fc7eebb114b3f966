"""The site: settings, routes, Celery, and the processes that serve it."""

from chestx_site.celery import app as celery_app

__all__ = ["celery_app"]
