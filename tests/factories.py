"""Rows for tests: made-up people, studies and runs, whole enough for the database."""

import hashlib
import uuid
from datetime import UTC, date, datetime
from typing import Any, Protocol, TypeVar

import factory
import numpy as np
from django.db.models import Model
from factory.django import DjangoModelFactory

from accounts.access import STAFF_ROLES
from accounts.models import Department, Role, User
from diagnoses.models import Finding, HeatMap, ModelVersion, Prediction
from ml.labels import BRAIN_TUMOUR_LABELS, CHEST_LABELS, CHESTX6_LABELS
from patients.identity.names import fold
from patients.models import Instance, Patient, Series, Study, Upload
from tests.default_model import DEFAULT_MODEL
from tests.owner import by_owner

ALL_LABELS = sorted(
    {label.name for label in (*CHEST_LABELS, *CHESTX6_LABELS, *BRAIN_TUMOUR_LABELS)}
)
PASSWORD = "a-Password-of-tests-4711"
_Row = TypeVar("_Row")


class RowFactory(Protocol[_Row]):
    """A factory as tests call it: `StudyFactory(…)` saves and returns a Study.

    Type checkers take the call of a class for an instance of the class.
    """

    def __call__(self, **values: Any) -> _Row:
        """Make and save one row."""

    def build(self, **values: Any) -> _Row:
        """Make one row without saving it."""

    def create_batch(self, size: int, **values: Any) -> list[_Row]:
        """Make and save several rows."""


def _typed(model: type[_Row], made_by: Any) -> RowFactory[_Row]:
    return made_by


def _uid(number: int) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, str(number)).int}"


def _sha256(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


class _DepartmentFactory(DjangoModelFactory):
    class Meta:
        model = Department
        django_get_or_create = ("code",)

    code = "radiology"
    name = factory.LazyAttribute(lambda made: made.code.capitalize())


class _UserFactory(DjangoModelFactory):
    """A user of the department radiology; `departments=[…]` says otherwise."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user-{n}")
    role = Role.RADIOLOGIST
    is_staff = factory.LazyAttribute(lambda made: made.role in STAFF_ROLES)
    primary_department = factory.SubFactory(_DepartmentFactory)

    @factory.post_generation
    def departments(made: User, create: bool, given: Any, **kwargs: Any) -> None:  # noqa: N805
        if create:
            own = [made.primary_department] if made.primary_department else []
            made.departments.set(own if given is None else given)

    @factory.post_generation
    def password(made: User, create: bool, given: Any, **kwargs: Any) -> None:  # noqa: N805
        made.set_password(given or PASSWORD)
        if create:
            made.save(update_fields=["password"])


class _PatientFactory(DjangoModelFactory):
    class Meta:
        model = Patient

    patient_id = factory.Sequence(lambda n: f"MRN-{n:05}")
    issuer = "LOCAL"
    family_name = factory.Sequence(lambda n: f"Family{n}")
    given_name = "Given"
    name_folded = factory.LazyAttribute(
        lambda made: fold(f"{made.family_name} {made.given_name}")
    )
    birth_date = date(1960, 2, 29)
    sex = "F"


class _StudyFactory(DjangoModelFactory):
    class Meta:
        model = Study

    patient = factory.SubFactory(_PatientFactory)
    study_instance_uid = factory.Sequence(lambda n: _uid(n))
    department = factory.SubFactory(_DepartmentFactory)
    received_patient_id = factory.SelfAttribute("patient.patient_id")
    received_issuer = factory.SelfAttribute("patient.issuer")


class _SeriesFactory(DjangoModelFactory):
    class Meta:
        model = Series

    study = factory.SubFactory(_StudyFactory)
    series_instance_uid = factory.Sequence(lambda n: _uid(n + 1_000_000))
    modality = "DX"
    body_part_examined = "CHEST"
    series_number = 1


class _InstanceFactory(DjangoModelFactory):
    """A row without an object behind it."""

    class Meta:
        model = Instance

    series = factory.SubFactory(_SeriesFactory)
    sop_instance_uid = factory.Sequence(lambda n: _uid(n + 2_000_000))
    sop_class_uid = "1.2.840.10008.5.1.4.1.1.1.1"
    transfer_syntax_uid = "1.2.840.10008.1.2.1"
    rows = 64
    columns = 48
    frames = 1
    bits_stored = 12
    photometric_interpretation = "MONOCHROME2"
    size_bytes = 6144
    object_sha256 = factory.Sequence(lambda n: _sha256(n))
    dataset_sha256 = factory.Sequence(lambda n: _sha256(n + 1_000_000))
    header_sha256 = factory.Sequence(lambda n: _sha256(n + 2_000_000))
    pixel_sha256 = factory.Sequence(lambda n: _sha256(n + 3_000_000))
    hash_rule = 1
    header = factory.LazyFunction(dict)


class _UploadFactory(DjangoModelFactory):
    class Meta:
        model = Upload

    user = factory.SubFactory(_UserFactory)
    source = Upload.Source.REST
    original_name = "image.dcm"
    outcome = Upload.Outcome.STORED
    instance = factory.SubFactory(_InstanceFactory)
    department = factory.SubFactory(_DepartmentFactory)


class _ModelVersionFactory(DjangoModelFactory):
    class Meta:
        model = ModelVersion
        django_get_or_create = ("name", "version")

    name = DEFAULT_MODEL
    version = "1"
    weights_sha256 = factory.Sequence(lambda n: _sha256(n + 4_000_000))
    card = factory.LazyFunction(dict)
    claimed_labels = factory.LazyFunction(lambda: list(ALL_LABELS))
    state = ModelVersion.State.ACTIVE


class _PredictionFactory(DjangoModelFactory):
    """A queued run; `succeeded=True` for one that has ended well."""

    class Meta:
        model = Prediction

    class Params:
        succeeded = factory.Trait(
            status=Prediction.Status.SUCCEEDED,
            finished_at=factory.LazyFunction(lambda: datetime.now(UTC)),
            input_sha256="a" * 64,
            geometry={
                "source_height": 64,
                "source_width": 48,
                "top": 8,
                "left": 0,
                "height": 48,
                "width": 48,
                "size": 224,
            },
        )
        failed = factory.Trait(
            status=Prediction.Status.FAILED,
            finished_at=factory.LazyFunction(lambda: datetime.now(UTC)),
            reason_code="worker_lost",
            reason="The worker was lost five times.",
        )

    instance = factory.SubFactory(_InstanceFactory)
    model_version = factory.SubFactory(_ModelVersionFactory)


class _ResultFactory(DjangoModelFactory):
    """A row of a run that may have ended: only the owner of the tables can add it."""

    class Meta:
        abstract = True

    @classmethod
    def _create(cls, model_class: type[Model], *args: Any, **kwargs: Any) -> Model:
        with by_owner():
            return super()._create(model_class, *args, **kwargs)


class _FindingFactory(_ResultFactory):
    class Meta:
        model = Finding

    prediction = factory.SubFactory(_PredictionFactory, succeeded=True)
    position = factory.Sequence(lambda n: n % 100)
    label = factory.Sequence(lambda n: f"Label {n}")
    probability = 0.25
    calibrated = False
    threshold = 0.5
    threshold_source = Finding.ThresholdSource.CARD
    positive = factory.LazyAttribute(lambda made: made.probability >= made.threshold)


class _HeatMapFactory(_ResultFactory):
    class Meta:
        model = HeatMap

    finding = factory.SubFactory(_FindingFactory)
    rows = 7
    columns = 7
    scale = 1.0
    values = factory.LazyAttribute(
        lambda made: np.linspace(0, 1, made.rows * made.columns).astype("<f2").tobytes()
    )


DepartmentFactory = _typed(Department, _DepartmentFactory)
UserFactory = _typed(User, _UserFactory)
PatientFactory = _typed(Patient, _PatientFactory)
StudyFactory = _typed(Study, _StudyFactory)
SeriesFactory = _typed(Series, _SeriesFactory)
InstanceFactory = _typed(Instance, _InstanceFactory)
UploadFactory = _typed(Upload, _UploadFactory)
ModelVersionFactory = _typed(ModelVersion, _ModelVersionFactory)
PredictionFactory = _typed(Prediction, _PredictionFactory)
FindingFactory = _typed(Finding, _FindingFactory)
HeatMapFactory = _typed(HeatMap, _HeatMapFactory)
