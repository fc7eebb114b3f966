"""Collect the sentences for translators, those of `ml` errors among them."""

from django.core.management.commands import makemessages

# `ml` knows no gettext: the first argument of its errors is the sentence.
ML_ERRORS = (
    "MlError",
    "ImageError",
    "ImageRejected",
    "ModelError",
    "TrainingError",
)


class Command(makemessages.Command):
    """Django's command; `ml` errors count as calls of gettext."""

    xgettext_options = [  # noqa: RUF012 - as Django's class has it
        *makemessages.Command.xgettext_options,
        *(f"--keyword={name}:1" for name in ML_ERRORS),
    ]
