"""Collect texts for translation, including the sentences of `ml` errors."""

from django.core.management.commands import makemessages

# `ml` does not use gettext: the first argument of its errors is the sentence.
ML_ERRORS = (
    "MlError",
    "ImageError",
    "ImageAttributeError",
    "ImageRejected",
    "ModelError",
    "TrainingError",
)


class Command(makemessages.Command):
    """Django's command, which also treats `ml` errors as calls of gettext."""

    xgettext_options = [  # noqa: RUF012 - as Django's class has it
        *makemessages.Command.xgettext_options,
        *(f"--keyword={name}:1" for name in ML_ERRORS),
    ]
