"""The demo's patients: made up, with drawn films, marked SYNTHETIC everywhere."""

from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO

from django.utils import timezone

from accounts.models import Role, User
from patients.identity.submitted import Claims
from patients.ingest import ingest_instance
from patients.models import Priority, Study, Upload
from patients.phantom.dataset import phantom_dataset

FILM_SIZE = 1024
ACCESSION_PREFIX = "DEMO"


@dataclass(frozen=True)
class DemoFilm:
    """One film of a made-up patient, taken so many days ago."""

    given_name: str
    age: int
    sex: str
    days_ago: int = 0
    priority: Priority = Priority.ROUTINE
    opacity: bool = False


# In the order of arrival: the newest comes last.
FILMS = (
    DemoFilm("Chidi", 58, "M", days_ago=420),
    DemoFilm("Hana", 71, "F", days_ago=190),
    DemoFilm("Tomasz", 66, "M", days_ago=35, opacity=True),
    DemoFilm("Leilani", 29, "F", days_ago=2),
    DemoFilm("Ravi", 44, "M", days_ago=1, opacity=True),
    DemoFilm("Amara", 37, "F", days_ago=1),
    DemoFilm("Lucía", 8, "F", days_ago=1, priority=Priority.URGENT, opacity=True),
    DemoFilm("Søren", 83, "M", days_ago=1),
    DemoFilm("Yusuf", 51, "M"),
    DemoFilm("Mei", 63, "F", priority=Priority.URGENT),
    DemoFilm("Ingrid", 19, "F"),
    DemoFilm("Tomasz", 66, "M"),
    DemoFilm("Kofi", 4, "M", opacity=True),
    DemoFilm("Hana", 71, "F", opacity=True),
    DemoFilm("Chidi", 58, "M", priority=Priority.STAT, opacity=True),
)


def create_demo_patients() -> int:
    """Take the demo's films into the record, those that are not there yet.

    Returns:
        How many films were added: 0 on the second call.
    """
    known = set(
        Study.objects.filter(
            accession_number__startswith=ACCESSION_PREFIX,
            series__instances__synthetic=True,
        ).values_list("accession_number", flat=True)
    )
    actor = User.objects.filter(username=Role.TECHNOLOGIST).first()
    added = 0
    for number, film in enumerate(FILMS, start=1):
        if _accession_number(number) not in known:
            _take_in(film, number=number, actor=actor)
            added += 1
    return added


def _take_in(film: DemoFilm, *, number: int, actor: User | None) -> None:
    taken = timezone.localdate() - timedelta(days=film.days_ago)
    names = list(dict.fromkeys(one.given_name for one in FILMS))
    dataset = phantom_dataset(
        number,
        patient_id=f"DEMO-{names.index(film.given_name) + 1:03}",
        patient_name=f"DEMO^{film.given_name}",
        birth_date=_born(film, number=names.index(film.given_name)).strftime("%Y%m%d"),
        sex=film.sex,
        study_date=taken.strftime("%Y%m%d"),
        accession_number=_accession_number(number),
        size=FILM_SIZE,
        opacity=film.opacity,
    )
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    content.seek(0)
    ingest_instance(
        content,
        name=f"demo-{number:02}.dcm",
        door=Upload.Door.DEMO,
        actor=actor,
        claims=Claims(priority=film.priority),
        synthetic=True,
    )


def _born(film: DemoFilm, *, number: int) -> date:
    """Return a birthday that a patient keeps from film to film."""
    year = timezone.localdate().year - film.age - 1
    return date(year, 1 + number % 12, 1 + 2 * number)


def _accession_number(number: int) -> str:
    return f"{ACCESSION_PREFIX}{number:04}"
