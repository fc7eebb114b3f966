"""Who may do what: users, departments, tokens, and the trail of what they did."""

import uuid

from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from knox.models import AbstractAuthToken


class Role(models.TextChoices):
    """What a person or a program does here; `accounts.access` says what each may do."""

    RADIOLOGIST = "radiologist", "Radiologist"
    CLINICIAN = "clinician", "Clinician"
    TECHNOLOGIST = "technologist", "Technologist"
    DATA_SCIENTIST = "data_scientist", "Data scientist"
    AUDITOR = "auditor", "Auditor"
    ADMIN = "admin", "Administrator"
    INTEGRATION = "integration", "Integration"


class Department(models.Model):
    """A part of the hospital. Studies belong to one; users see those of theirs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code = models.SlugField(max_length=32, unique=True)
    name = models.CharField(max_length=128)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class UserManager(DjangoUserManager["User"]):
    """Django's, but who may do everything also says so by the role."""

    use_in_migrations = False

    def create_superuser(
        self,
        username: str,
        email: str | None = None,
        password: str | None = None,
        **extra_fields: object,
    ) -> "User":
        """Create a user of the role admin."""
        return super().create_superuser(
            username, email, password, **({"role": Role.ADMIN} | extra_fields)
        )


class User(AbstractUser):
    """A person or a program that signs in.

    The role decides the actions, the departments the studies.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    role = models.CharField(max_length=16, choices=Role, default=Role.CLINICIAN)
    departments = models.ManyToManyField(
        Department,
        related_name="members",
        blank=True,
        help_text="Whose studies this user sees.",
    )
    primary_department = models.ForeignKey(
        Department,
        on_delete=models.PROTECT,
        related_name="primary_members",
        null=True,
        blank=True,
        help_text="Where the studies go that this user uploads.",
    )

    objects = UserManager()

    class Meta(AbstractUser.Meta):
        constraints = (
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="user_role_known"
            ),
        )


class Token(AbstractAuthToken):
    """An API token: its digest, when it expires, and what it opens.

    A scope is the value of an `accounts.access.Action`; access is what the user's
    role AND the token's scopes allow.
    """

    scopes = ArrayField(models.CharField(max_length=32), default=list)
    name = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ("-created",)


class AuditEvent(models.Model):
    """One thing that somebody did or tried. A trigger refuses UPDATE and DELETE.

    Actor and object are kept as (kind, UUID) without a foreign key and without a
    patient's name, so that the event outlives what it speaks of.
    """

    class Outcome(models.TextChoices):
        SUCCESS = "success"
        REFUSED = "refused"
        FAILURE = "failure"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    at = models.DateTimeField(db_default=Now(), editable=False)
    actor_uuid = models.UUIDField(
        null=True, blank=True, help_text="Empty for an unknown user."
    )
    actor_name = models.CharField(
        max_length=150, blank=True, help_text="The user name as given."
    )
    action = models.CharField(max_length=48)
    object_kind = models.CharField(max_length=32, blank=True)
    object_uuid = models.UUIDField(null=True, blank=True)
    source = models.CharField(max_length=16)
    address = models.GenericIPAddressField(null=True, blank=True)
    outcome = models.CharField(max_length=8, choices=Outcome, default=Outcome.SUCCESS)
    detail = models.JSONField(
        default=dict, blank=True, help_text="Facts without a patient's name."
    )

    class Meta:
        ordering = ("-at", "-id")
        indexes = (
            models.Index(fields=("-at", "-id"), name="audit_newest"),
            models.Index(fields=("actor_uuid", "-at"), name="audit_by_actor"),
            models.Index(fields=("object_uuid", "-at"), name="audit_by_object"),
        )
        constraints = (
            models.CheckConstraint(
                condition=models.Q(outcome__in=("success", "refused", "failure")),
                name="audit_outcome_known",
            ),
        )

    def __str__(self) -> str:
        return (
            f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name or 'nobody'} {self.action}"
        )


class AuditSubject(models.Model):
    """A patient whose data the event showed or changed: a worklist page has fifty."""

    event = models.ForeignKey(
        AuditEvent, on_delete=models.PROTECT, related_name="subjects"
    )
    patient_uuid = models.UUIDField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("event", "patient_uuid"), name="audit_subject_once"
            ),
        )
        indexes = (models.Index(fields=("patient_uuid",), name="audit_by_patient"),)

    def __str__(self) -> str:
        return str(self.patient_uuid)
