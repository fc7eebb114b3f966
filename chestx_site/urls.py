"""URL configuration."""

from django.contrib import admin
from django.urls import include, path

from chestx_site import api
from chestx_site.web import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("", include("accounts.urls")),
    path("", include("diagnoses.pages.urls")),
    path("api/v1/", include(api.urlpatterns)),
    path("admin/", admin.site.urls),
]
# Answers 503 for a lost database also before a view is reached.
handler500 = "chestx_site.web.middleware.server_error"
