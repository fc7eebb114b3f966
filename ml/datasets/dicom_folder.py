"""A folder of DICOM files with a table of labels, as exported from a PACS.

The table has a column path (or filename) or SOPInstanceUID, a column labels (or label;
joined by |) and optionally split and dataset. The rest comes from the headers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from ml.datasets.manifest import ManifestRow, age_of, sex_of
from ml.datasets.tables import first_few, labels_of, read_table
from ml.errors import TrainingError

PREAMBLE_LENGTH = 128
PATH_COLUMNS = ("path", "filename", "file")
UID_COLUMNS = ("sopinstanceuid", "sopuid")
LABEL_COLUMNS = ("labels", "label", "findinglabels")
DAYS_A_YEAR = 365.25
HEADER_KEYWORDS = [
    "SOPInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "PatientSex",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    "ViewPosition",
]
HEADER_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    ValueError,
    KeyError,
    AttributeError,
    NotImplementedError,
)


def is_dicom(file: Path) -> bool:
    """Tell whether a file has the DICOM preamble and prefix (PS3.10 section 7.1)."""
    try:
        with file.open("rb") as content:
            return content.read(PREAMBLE_LENGTH + 4)[PREAMBLE_LENGTH:] == b"DICM"
    except OSError:
        return False


def find_dicom_table(root: Path) -> Path | None:
    """Return the first table in a folder that labels DICOM files, else None."""
    return next(
        (t for t in sorted(root.glob("*.csv")) if is_dicom_table(t, root)), None
    )


def is_dicom_table(table: Path, root: Path) -> bool:
    """Tell whether a table labels DICOM files of a folder, by UID or by path."""
    lines = read_table(table)
    columns = set(lines[0]) if lines else set()
    by_path, by_uid = _one_of(PATH_COLUMNS, columns), _one_of(UID_COLUMNS, columns)
    if _one_of(LABEL_COLUMNS, columns) is None or (by_path or by_uid) is None:
        return False
    return by_path is None or is_dicom(root / lines[0][by_path])


def read_dicom_folder(root: Path, labels_csv: Path | None = None) -> list[ManifestRow]:
    """Read the images that a table lists, with patient, view, age and sex of each.

    Raises:
        TrainingError: There is no table, it lacks a column, or an image that it lists
            is missing, is listed twice or is not a DICOM file.
    """
    table = labels_csv or find_dicom_table(root)
    if table is None:
        raise TrainingError(
            "%(folder)s has no table of labels for DICOM files.",
            params={"folder": str(root)},
        )
    lines = read_table(table)
    columns = set(lines[0]) if lines else set()
    by_path, by_uid = _one_of(PATH_COLUMNS, columns), _one_of(UID_COLUMNS, columns)
    labels, by = _one_of(LABEL_COLUMNS, columns), by_path or by_uid
    if labels is None or by is None:
        raise TrainingError(
            "%(table)s needs a column labels, and a column path or SOPInstanceUID.",
            params={"table": str(table)},
        )
    image_names = [line.get(by, "").strip() for line in lines]
    if by == by_path:
        images = {name: root / name for name in image_names if (root / name).is_file()}
    else:
        images = _images_by_uid(root)
    _check_complete(image_names, images, table)
    return [
        _row(root, images[name], line, labels_of(line.get(labels, "")))
        for name, line in zip(image_names, lines, strict=True)
    ]


def _check_complete(names: list[str], images: dict[str, Path], table: Path) -> None:
    missing = [name for name in names if name not in images]
    if missing:
        raise TrainingError(
            "%(count)d images of %(table)s are missing: %(images)s.",
            params={
                "count": len(missing),
                "table": str(table),
                "images": first_few(missing),
            },
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TrainingError(
            "%(table)s lists images twice: %(images)s.",
            params={"table": str(table), "images": first_few(repeated)},
        )


def _one_of(accepted: tuple[str, ...], columns: set[str]) -> str | None:
    return next((name for name in accepted if name in columns), None)


def _images_by_uid(root: Path) -> dict[str, Path]:
    """Return the DICOM files below a folder by SOP Instance UID; copies count once."""
    files: dict[str, Path] = {}
    for file in _dicom_files(root):
        files.setdefault(str(_header(file).get("SOPInstanceUID", "")), file)
    return files


def _dicom_files(root: Path) -> Iterator[Path]:
    return (file for file in sorted(root.rglob("*")) if is_dicom(file))


def _header(file: Path) -> Dataset:
    try:
        return dcmread(file, stop_before_pixels=True, specific_tags=HEADER_KEYWORDS)
    except HEADER_ERRORS as error:
        raise TrainingError(
            "%(file)s cannot be read as a DICOM file.", params={"file": str(file)}
        ) from error


def _row(
    root: Path, file: Path, line: dict[str, str], labels: tuple[str, ...]
) -> ManifestRow:
    header = _header(file)
    path = _below(root, file)
    return ManifestRow(
        path=path,
        dataset=line.get("dataset", "").strip() or root.resolve().name,
        split=line.get("split", "").strip(),
        # Without a patient identifier, the study stands for the patient.
        patient=_text(header, "PatientID") or _text(header, "StudyInstanceUID") or path,
        view=_text(header, "ViewPosition").upper(),
        licence="",
        labels=labels,
        sex=sex_of(_text(header, "PatientSex")),
        age_years=_age_years(header),
    )


def _below(root: Path, file: Path) -> str:
    for base, each in ((root, file), (root.resolve(), file.resolve())):
        if each.is_relative_to(base):
            return each.relative_to(base).as_posix()
    raise TrainingError(
        "%(file)s of the table is not in %(folder)s.",
        params={"file": str(file), "folder": str(root)},
    )


def _age_years(header: Dataset) -> float | None:
    """Return PatientAge, else the years from birth to the study."""
    stated = age_of(_text(header, "PatientAge"))
    if stated is not None:
        return stated
    born, studied = (
        _day(_text(header, keyword)) for keyword in ("PatientBirthDate", "StudyDate")
    )
    if born is None or studied is None or studied < born:
        return None
    return age_of(f"{(studied - born).days / DAYS_A_YEAR:.2f}")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _text(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value).strip()
