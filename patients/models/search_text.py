"""What patients and studies are found by."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Func, Q, TextField
from django.utils.translation import gettext_lazy as _

from accounts.access import Action, Visibility
from patients.models.study import Patient, Study


class NGrams(Func):
    """The n-grams of a text: three and five characters of a word, and its beginning.

    `patients_ngrams` in the database returns them; an index holds them.
    """

    function = "patients_ngrams"
    output_field = ArrayField(TextField())


class SearchText(models.Model):
    """The words that a patient (without a study) or a study of a patient is found by.

    ` doe john 4711 1961-04-05 acc77`: the folded name, the patient ID, the date of
    birth and the accession number, each after a space. Triggers of the tables of
    patients and studies write it; nothing else does.
    """

    id = models.UUIDField(primary_key=True, db_default=RandomUUID(), editable=False)
    patient = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="+")
    study = models.OneToOneField(
        Study, on_delete=models.CASCADE, related_name="+", null=True
    )
    # The same order and case on every database, whatever its locale.
    text = models.TextField(db_collation="C")

    visibility = Visibility(Action.READ_PATIENTS, through="patient")

    class Meta:
        verbose_name = _("search text")
        verbose_name_plural = _("search texts")
        constraints = (
            models.UniqueConstraint(
                fields=("patient",),
                condition=Q(study=None),
                name="search_text_once_a_patient",
            ),
        )
        indexes = (
            GinIndex(NGrams("text"), name="search_text_ngrams", fastupdate=False),
        )

    def __str__(self) -> str:
        return str(self.study_id or self.patient_id)
