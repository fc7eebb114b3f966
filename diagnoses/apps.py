"""Configuration of the app."""

from django.apps import AppConfig


class DiagnosesConfig(AppConfig):
    name = "diagnoses"
