"""Collect texts for translation, including those of `ml`, which has no gettext."""

from django.core.management.commands import makemessages

# The first argument of these errors is the sentence.
ML_ERRORS = (
    "MlError",
    "ImageError",
    "ImageAttributeError",
    "ImageRejected",
    "ModelError",
    "TrainingError",
)
# A text that `ml` translates by the function that its caller passes, or stores.
ML_FUNCTIONS = ("translate", "in_english")


class Command(makemessages.Command):
    """Django's command, which also takes the texts of `ml`."""

    xgettext_options = [  # noqa: RUF012 - as Django's class has it
        *makemessages.Command.xgettext_options,
        *(f"--keyword={name}:1" for name in (*ML_ERRORS, *ML_FUNCTIONS)),
    ]
