"""Configuration of the app."""

from django.apps import AppConfig


class DiagnosesConfig(AppConfig):
    name = "diagnoses"

    def ready(self) -> None:
        """Connect the receivers of the archive's signal."""
        from diagnoses import receivers
        from patients.signals import instance_stored

        instance_stored.connect(
            receivers.on_instance_stored, dispatch_uid="diagnoses.queue_predictions"
        )
