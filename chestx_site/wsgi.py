"""What gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import resolve

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chestx_site.settings")

application = get_wsgi_application()
# Loads the routes and all behind them before gunicorn forks; otherwise each of its
# processes would do so for itself, while its first visitor waits.
resolve("/healthz")
