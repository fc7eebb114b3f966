"""Puts our own site in the place of Django's admin. Comes first: imports no model."""

from django.contrib.admin.apps import AdminConfig


class ChestXAdminConfig(AdminConfig):
    """Makes `ChestXAdminSite` the default one."""

    default_site = "chestx_site.web.admin_site.ChestXAdminSite"
