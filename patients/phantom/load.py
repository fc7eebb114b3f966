"""The demo patients, with drawn images marked SYNTHETIC."""

from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO

from django.utils import timezone

from accounts.models import Role, User
from patients.identity.submitted import SubmittedIdentity
from patients.ingest import ingest_instance
from patients.models import Priority, Study, Upload
from patients.phantom.dataset import phantom_dataset

IMAGE_SIZE = 1024
ACCESSION_PREFIX = "DEMO"


@dataclass(frozen=True)
class DemoImage:
    """One image of a demo patient, taken some days ago."""

    given_name: str
    age: int
    sex: str
    days_ago: int = 0
    priority: Priority = Priority.ROUTINE
    opacity: bool = False


# In the order of arrival, the newest last.
IMAGES = (
    DemoImage("Chidi", 58, "M", days_ago=420),
    DemoImage("Hana", 71, "F", days_ago=190),
    DemoImage("Tomasz", 66, "M", days_ago=35, opacity=True),
    DemoImage("Leilani", 29, "F", days_ago=2),
    DemoImage("Ravi", 44, "M", days_ago=1, opacity=True),
    DemoImage("Amara", 37, "F", days_ago=1),
    DemoImage("Lucía", 8, "F", days_ago=1, priority=Priority.URGENT, opacity=True),
    DemoImage("Søren", 83, "M", days_ago=1),
    DemoImage("Yusuf", 51, "M"),
    DemoImage("Mei", 63, "F", priority=Priority.URGENT),
    DemoImage("Ingrid", 19, "F"),
    DemoImage("Tomasz", 66, "M"),
    DemoImage("Kofi", 4, "M", opacity=True),
    DemoImage("Hana", 71, "F", opacity=True),
    DemoImage("Chidi", 58, "M", priority=Priority.STAT, opacity=True),
)


def create_demo_patients() -> int:
    """Store the demo images that are not stored yet.

    Returns:
        The number of added images: 0 on the second call.
    """
    known = set(
        Study.objects.filter(
            accession_number__startswith=ACCESSION_PREFIX,
            series__instances__synthetic=True,
        ).values_list("accession_number", flat=True)
    )
    actor = User.objects.filter(username=Role.TECHNOLOGIST).first()
    added = 0
    for number, image in enumerate(IMAGES, start=1):
        if _accession_number(number) not in known:
            _store(image, number=number, actor=actor)
            added += 1
    return added


def _store(image: DemoImage, *, number: int, actor: User | None) -> None:
    taken = timezone.localdate() - timedelta(days=image.days_ago)
    names = list(dict.fromkeys(one.given_name for one in IMAGES))
    dataset = phantom_dataset(
        number,
        patient_id=f"DEMO-{names.index(image.given_name) + 1:03}",
        patient_name=f"DEMO^{image.given_name}",
        birth_date=_born(image, number=names.index(image.given_name)).strftime(
            "%Y%m%d"
        ),
        sex=image.sex,
        study_date=taken.strftime("%Y%m%d"),
        accession_number=_accession_number(number),
        size=IMAGE_SIZE,
        opacity=image.opacity,
    )
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    content.seek(0)
    ingest_instance(
        content,
        name=f"demo-{number:02}.dcm",
        source=Upload.Source.DEMO,
        actor=actor,
        submitted_identity=SubmittedIdentity(priority=image.priority),
        synthetic=True,
    )


def _born(image: DemoImage, *, number: int) -> date:
    """Return the same birthday for all images of a patient."""
    year = timezone.localdate().year - image.age - 1
    return date(year, 1 + number % 12, 1 + 2 * number)


def _accession_number(number: int) -> str:
    return f"{ACCESSION_PREFIX}{number:04}"
