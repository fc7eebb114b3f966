"""Configuration of the app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DiagnosesConfig(AppConfig):
    name = "diagnoses"
    verbose_name = _("Models and results")

    def ready(self) -> None:
        """Connect the receivers of the archive's signal."""
        from diagnoses import receivers
        from patients.signals import instance_stored

        instance_stored.connect(
            receivers.on_instance_stored, dispatch_uid="diagnoses.queue_predictions"
        )
