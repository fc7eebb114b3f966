"""App configuration that replaces Django's admin site. It must not import models."""

from django.contrib.admin.apps import AdminConfig


class ChestXAdminConfig(AdminConfig):
    """Make `ChestXAdminSite` the default admin site."""

    default_site = "chestx_site.web.admin_site.ChestXAdminSite"
