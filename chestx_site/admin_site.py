"""The admin under the product's name."""

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig


class ChestXAdminSite(admin.AdminSite):
    """Django's admin with the product's name and look (templates/admin/)."""

    site_header = "ChestX administration"
    site_title = "ChestX"
    index_title = "The record"


class ChestXAdminConfig(AdminConfig):
    default_site = "chestx_site.admin_site.ChestXAdminSite"
