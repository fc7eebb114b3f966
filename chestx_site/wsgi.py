"""WSGI entry point for gunicorn."""

import os

import django
from django.urls import resolve

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chestx_site.settings")

django.setup(set_prefix=False)

from chestx_site.web.malformed import CheckingHandler  # noqa: E402 - needs the apps

application = CheckingHandler()
# Load all routes before gunicorn forks; otherwise each process would load them during
# its first request.
resolve("/healthz")
