"""Names of labels for people, in the language of the reader."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

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


def label_name(label: str) -> str:
    """Return the name of a label for people; an unknown label is its own name.

    Args:
        label: As `ml.labels` or the card of a model spells it.
    """
    return str(LABEL_NAMES.get(label, label))
