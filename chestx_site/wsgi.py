"""WSGI entry point for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import resolve

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chestx_site.settings")

application = get_wsgi_application()
# Load all routes before gunicorn forks; otherwise each process would load them during
# its first request.
resolve("/healthz")
