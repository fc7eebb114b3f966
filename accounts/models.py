"""Users, departments, tokens and the audit trail."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _
from knox.models import AbstractAuthToken, AuthTokenManager
from knox.settings import CONSTANTS


class Role(models.TextChoices):
    """Roles of people and programs; `accounts.access` lists the actions of each."""

    RADIOLOGIST = "radiologist", _("Radiologist")
    CLINICIAN = "clinician", _("Clinician")
    TECHNOLOGIST = "technologist", _("Technologist")
    DATA_SCIENTIST = "data_scientist", _("Data scientist")
    AUDITOR = "auditor", _("Auditor")
    ADMIN = "admin", _("Administrator")
    INTEGRATION = "integration", _("Integration")


class Department(models.Model):
    """A department of the hospital. Users see the studies of their departments."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code = models.SlugField(_("code"), max_length=32, unique=True)
    name = models.CharField(_("name"), max_length=128)

    class Meta:
        ordering = ("name",)
        verbose_name = _("department")
        verbose_name_plural = _("departments")

    def __str__(self) -> str:
        return self.name


class UserManager(DjangoUserManager["User"]):
    """Django's manager; superusers get the role of administrator."""

    use_in_migrations = False

    def create_superuser(
        self,
        username: str,
        email: str | None = None,
        password: str | None = None,
        **extra_fields: Any,
    ) -> "User":
        """Create a superuser with the role of administrator."""
        return super().create_superuser(
            username, email, password, **({"role": Role.ADMIN} | extra_fields)
        )


# The manager of the tokens, `auth_token_set`, comes from knox and has no type.
class User(AbstractUser):  # type: ignore[django-manager-missing]
    """A person or program that signs in.

    The role decides which actions are allowed, the departments which studies are seen.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    role = models.CharField(
        _("role"), max_length=16, choices=Role, default=Role.CLINICIAN
    )
    departments = models.ManyToManyField(
        Department,
        verbose_name=_("departments"),
        related_name="members",
        blank=True,
        help_text=_("This user sees the studies of these departments."),
    )
    primary_department = models.ForeignKey(
        Department,
        verbose_name=_("primary department"),
        on_delete=models.PROTECT,
        related_name="primary_members",
        null=True,
        blank=True,
        help_text=_("Studies that this user uploads go to this department."),
    )

    heat_map_shown = models.BooleanField(
        _("heat map shown"),
        default=False,
        help_text=_("Study pages open with the heat map over the image."),
    )
    heat_map_cells = models.BooleanField(
        _("heat map in cells"),
        default=False,
        help_text=_("Heat maps are drawn in flat cells."),
    )

    # The scopes of the token that the user signed in with; None for a session. Set by
    # the authentication of each request, never stored.
    token_scopes: frozenset[str] | None = None

    objects: ClassVar[UserManager] = UserManager()

    class Meta(AbstractUser.Meta):
        constraints = (
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="user_role_known"
            ),
        )


class Token(AbstractAuthToken):
    """An API token: its digest, expiry time and scopes.

    A scope is the value of an `accounts.access.Action`. Access needs both: the user's
    role and the token's scopes.
    """

    # knox gives its fields no translatable names.
    token_key = models.CharField(
        _("start of the token"),
        max_length=CONSTANTS.MAXIMUM_TOKEN_PREFIX_LENGTH + CONSTANTS.TOKEN_KEY_LENGTH,
        db_index=True,
    )
    user = models.ForeignKey(
        User,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="auth_token_set",
    )
    created = models.DateTimeField(_("created"), auto_now_add=True)
    expiry = models.DateTimeField(_("expires"), null=True, blank=True)
    scopes = ArrayField(
        models.CharField(max_length=32), verbose_name=_("scopes"), default=list
    )
    name = models.CharField(_("name"), max_length=64, blank=True)

    # knox has no type hints: `create` returns the row and the token's text.
    objects: ClassVar[Any] = AuthTokenManager()

    class Meta:
        ordering = ("-created",)
        verbose_name = _("token")
        verbose_name_plural = _("tokens")


class DatabaseTimeField(models.DateTimeField):
    """A time that the database alone writes: Django leaves it out of INSERT.

    The serving role has no right to insert it, not even as DEFAULT.
    """

    generated = True

    def deconstruct(self) -> Any:
        """Return a usual time field: for migrations there is no difference."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs


class AuditEvent(models.Model):
    """An event of the audit trail: the serving role may insert and read events only.

    The database gives each event its number and its time. A rolled back transaction
    leaves a gap in the numbers. Actor and object are stored as kind and UUID, without a
    foreign key and without a patient's name, so that the event outlives them.
    """

    class Outcome(models.TextChoices):
        SUCCESS = "success", _("Success")
        REFUSED = "refused", _("Refused")
        FAILURE = "failure", _("Failure")

    at = DatabaseTimeField(_("time"), db_default=Now(), editable=False)
    actor_uuid = models.UUIDField(
        _("user key"), null=True, blank=True, help_text=_("Empty for an unknown user.")
    )
    actor_name = models.CharField(
        _("user name"),
        max_length=150,
        blank=True,
        help_text=_("Empty for an unknown user: its keyed hash is in the details."),
    )
    action = models.CharField(_("action"), max_length=48)
    object_kind = models.CharField(_("object"), max_length=32, blank=True)
    object_uuid = models.UUIDField(_("object key"), null=True, blank=True)
    source = models.CharField(_("source"), max_length=16)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    outcome = models.CharField(
        _("outcome"), max_length=8, choices=Outcome, default=Outcome.SUCCESS
    )
    detail = models.JSONField(
        _("details"),
        default=dict,
        blank=True,
        help_text=_("Facts without a patient's name."),
    )

    class Meta:
        ordering = ("-at", "-id")
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes = (
            models.Index(fields=("-at", "-id"), name="audit_newest"),
            models.Index(fields=("actor_uuid", "-at"), name="audit_by_actor"),
            models.Index(fields=("object_uuid", "-at"), name="audit_by_object"),
            # Each filter of the list, and the search by name.
            models.Index(fields=("action", "-at", "-id"), name="audit_of_action"),
            models.Index(fields=("outcome", "-at", "-id"), name="audit_of_outcome"),
            models.Index(fields=("source", "-at", "-id"), name="audit_of_source"),
            models.Index(fields=("object_kind", "-at", "-id"), name="audit_of_kind"),
            models.Index(fields=("actor_name", "-at", "-id"), name="audit_of_name"),
        )
        constraints = (
            models.CheckConstraint(
                condition=models.Q(outcome__in=("success", "refused", "failure")),
                name="audit_outcome_known",
            ),
        )

    def __str__(self) -> str:
        at = date_format(localtime(self.at), "DATETIME_FORMAT")
        return f"{at} {self.actor_name or '–'}"


class RefusalCount(models.Model):
    """Refusals of one address, beyond the one that the trail has an event of.

    `accounts.refusals.counted` writes and removes the rows. The trail gets the number.
    """

    # An IPv6 address as its network; "" if it is unknown.
    address = models.CharField(max_length=45, blank=True)
    action = models.CharField(max_length=48)
    actor_name = models.CharField(max_length=150, blank=True)
    source = models.CharField(max_length=16)
    reason = models.CharField(max_length=32, blank=True)
    since = models.DateTimeField(db_index=True)
    further = models.PositiveBigIntegerField()

    class Meta:
        verbose_name = _("count of refusals")
        verbose_name_plural = _("counts of refusals")
        constraints = (
            models.UniqueConstraint(
                fields=("address", "action", "actor_name", "source", "reason"),
                name="refusal_count_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.address} {self.action}: {self.further}"


class AuditSubject(models.Model):
    """A patient whose data the event showed or changed; a worklist page has fifty."""

    event = models.ForeignKey(
        AuditEvent, on_delete=models.PROTECT, related_name="subjects"
    )
    patient_uuid = models.UUIDField(_("patient key"))

    class Meta:
        verbose_name = _("patient of an event")
        verbose_name_plural = _("patients of an event")
        constraints = (
            models.UniqueConstraint(
                fields=("event", "patient_uuid"), name="audit_subject_once"
            ),
        )
        indexes = (models.Index(fields=("patient_uuid",), name="audit_by_patient"),)

    def __str__(self) -> str:
        return str(self.patient_uuid)


class FailedSignIns(models.Model):
    """Failed sign-ins that count towards a lock-out; deleting the row ends it.

    Attributes:
        name_digest: Keyed hash of the user name; "" in the row of an address, which
            counts the failures of all names.
        user: The user of this name, if there is one.
        failures: They become fewer with time.
    """

    name_digest = models.CharField(max_length=64, blank=True, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, null=True, blank=True, verbose_name=_("user")
    )
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    failures = models.FloatField(_("failures"), default=0)
    last_at = models.DateTimeField(_("last failure"), default=timezone.now)
    locked_until = models.DateTimeField(_("locked until"), null=True, blank=True)

    class Meta:
        ordering = ("-last_at",)
        verbose_name = _("failed sign-ins")
        verbose_name_plural = _("failed sign-ins")
        constraints = (
            models.UniqueConstraint(
                fields=("name_digest", "address"),
                nulls_distinct=False,
                name="failed_sign_ins_once",
            ),
        )
        indexes = (models.Index(fields=("last_at",), name="failed_sign_ins_by_time"),)

    def __str__(self) -> str:
        if self.user is not None:
            return f"{self.user.get_username()} · {self.address or '–'}"
        return f"{self.name_digest[:8] or '–'} · {self.address or '–'}"


class AuditChange(models.Model):
    """A field that an event changed, with its old and new value.

    The values stand here and not in the event, because they may be a patient's: the
    erasure of a patient deletes the rows with the patient's key. A trigger refuses
    every other change of this table.
    """

    event = models.ForeignKey(
        AuditEvent, on_delete=models.PROTECT, related_name="changes"
    )
    patient_uuid = models.UUIDField(
        _("patient key"),
        null=True,
        blank=True,
        help_text=_("Of the patient whose data the values are; else empty."),
    )
    field = models.CharField(_("field"), max_length=64)
    old = models.JSONField(_("old value"), null=True)
    new = models.JSONField(_("new value"), null=True)

    class Meta:
        ordering = ("pk",)
        verbose_name = _("changed field")
        verbose_name_plural = _("changed fields")
        indexes = (
            models.Index(
                fields=("patient_uuid",),
                name="audit_change_by_patient",
                condition=models.Q(patient_uuid__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return self.field
