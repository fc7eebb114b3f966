"""Names of labels for people, in the language of the reader."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ml import labels

# By the name that `ml.labels` and the cards give a label.
LABEL_NAMES: dict[str, Promise] = {
    "Atelectasis": _("Atelectasis"),
    "Bacterial pneumonia": _("Bacterial pneumonia"),
    "COVID-19": _("COVID-19"),
    "Cardiomegaly": _("Cardiomegaly"),
    "Consolidation": _("Consolidation"),
    "Edema": _("Pulmonary oedema"),
    "Effusion": _("Pleural effusion"),
    "Emphysema": _("Emphysema"),
    "Fibrosis": _("Pulmonary fibrosis"),
    "Glioma": _("Glioma"),
    "Hernia": _("Diaphragmatic hernia"),
    "Infiltration": _("Infiltration"),
    "Mass": _("Lung mass"),
    "Meningioma": _("Meningioma"),
    "No Finding": _("No finding"),
    "No tumour": _("No tumour"),
    "Nodule": _("Lung nodule"),
    "Normal": pgettext_lazy("finding", "Normal"),
    "Pituitary tumour": _("Pituitary tumour"),
    "Pleural_Thickening": _("Pleural thickening"),
    "Pneumonia": _("Pneumonia"),
    "Pneumothorax": _("Pneumothorax"),
    "Tuberculosis": _("Tuberculosis"),
    "Viral pneumonia": _("Viral pneumonia"),
}


# The names that ChestX's own cards give their labels, in English.
_USUAL_DISPLAYS = {
    label.name: label.display
    for label in (
        *labels.CHESTX6_LABELS,
        *labels.NIH15_LABELS,
        *labels.BRAIN_TUMOUR_LABELS,
    )
}


def label_name(label: str, *, display: str = "") -> str:
    """Return the name of a label for people.

    Args:
        label: As `ml.labels` or the card of a model spells it.
        display: The card's name of the label, if it has one. A card of another origin
            may mean something else by the label, so its own name is kept.
    """
    if display and display not in (label, _USUAL_DISPLAYS.get(label)):
        return display
    return str(LABEL_NAMES.get(label, label.replace("_", " ")))
