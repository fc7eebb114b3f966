"""Class folders as data sets: <split>/<class>/images or <class>/images, as on Kaggle.

Patients are known only from file names. Kermany et al. number the patients of bacterial
and viral pneumonia separately: person100_virus is in the official train set and
person100_bacteria in the test set, so the kind is part of the patient's identifier.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ml.datasets.manifest import ManifestRow
from ml.datasets.tables import plain_name
from ml.errors import TrainingError

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".dcm"})
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# A class folder may hold its images in a folder, beside their segmentation masks.
IMAGES_FOLDER = "images"
# Folders and files with segmentations of images, which are no images.
MASK_FOLDER = re.compile(r"(mask|segmentation)s?$", re.IGNORECASE)
MASK_FILE = re.compile(r".+[ _-](mask|masks|segmentation)", re.IGNORECASE)
# Folder name, in small letters and digits only, to the labels of its images.
CLASSES: dict[str, tuple[str, ...]] = {
    "normal": ("Normal",),
    "pneumonia": ("Pneumonia",),
    "covid": ("COVID-19",),
    "covid19": ("COVID-19",),
    "emphysema": ("Emphysema",),
    "tuberculosis": ("Tuberculosis",),
    "tb": ("Tuberculosis",),
    "glioma": ("Glioma",),
    "gliomatumor": ("Glioma",),
    "meningioma": ("Meningioma",),
    "meningiomatumor": ("Meningioma",),
    "pituitary": ("Pituitary tumour",),
    "pituitarytumor": ("Pituitary tumour",),
    "notumor": ("No tumour",),
    **dict.fromkeys(
        ("bacterialpneumonia", "pneumoniabacterial", "bacterial", "bacteria"),
        ("Pneumonia", "Bacterial pneumonia"),
    ),
    **dict.fromkeys(
        ("viralpneumonia", "pneumoniaviral", "viral", "virus"),
        ("Pneumonia", "Viral pneumonia"),
    ),
}
KINDS = {"bacteria": "Bacterial pneumonia", "virus": "Viral pneumonia"}
BRAIN_LABELS = frozenset({"Glioma", "Meningioma", "Pituitary tumour", "No tumour"})
# person123_bacteria_4 (Kaggle), BACTERIA-1008087-0001 (Mendeley)
PERSON = re.compile(r"person(\d+)_(bacteria|virus)_\d+", re.IGNORECASE)
NUMBERED = re.compile(r"(bacteria|virus|normal)-(\d+)-\d+", re.IGNORECASE)
KIND = re.compile(r"(?:person\d+_)?(bacteria|virus)[_-]\d+", re.IGNORECASE)
# Many viewers use this name for any export, so it counts only for normal images of a
# data set that has pneumonia, too.
NORMAL_IMAGE = re.compile(r"((?:NORMAL\d+-)?IM-\d+)-\d+", re.IGNORECASE)
NIH_IMAGE = re.compile(r"(\d{8})_\d{3}")


def has_class_folders(root: Path) -> bool:
    """Tell whether a folder contains class folders, with or without splits."""
    return next(_images(root), None) is not None


def read_class_folders(root: Path) -> list[ManifestRow]:
    """Read class folders; without split folders the split is empty.

    Raises:
        TrainingError: There are no class folders.
    """
    images = list(_images(root))
    if not images:
        raise TrainingError(
            "%(folder)s has no folders CLASS or SPLIT/CLASS with images.",
            params={"folder": str(root)},
        )
    labels = {label for _, folder, _ in images for label in _labels(folder, "")}
    dataset = _dataset_of(root, labels)
    beside_pneumonia = "Pneumonia" in labels
    return [
        _row(
            image.relative_to(root).as_posix(),
            split,
            folder,
            dataset,
            beside_pneumonia=beside_pneumonia,
        )
        for split, folder, image in images
    ]


def _row(
    path: str, split: str, folder: str, dataset: str, *, beside_pneumonia: bool
) -> ManifestRow:
    name = Path(path).stem
    labels = _labels(folder, name)
    normal = beside_pneumonia and labels == ("Normal",)
    known = _kermany_patient(name, normal=normal)
    nih = NIH_IMAGE.fullmatch(name)
    patient = known or (f"nih-{int(nih[1])}" if nih else "")
    return ManifestRow(
        path=path,
        dataset="kermany" if known else dataset,
        split=split,
        # Without a patient number, each image counts as a separate patient.
        patient=patient or f"{dataset}/{path}",
        # All images of Kermany et al. are AP.
        view="AP" if known else "",
        licence="CC BY 4.0" if known else "",
        labels=labels,
    )


def _kermany_patient(name: str, *, normal: bool) -> str:
    """Return the patient of an image of Kermany et al., else an empty string."""
    if match := PERSON.match(name):
        return f"kermany-person{match[1]}-{match[2].lower()}"
    if match := NUMBERED.match(name):
        return f"kermany-{match[1].lower()}-{match[2]}"
    if normal and (match := NORMAL_IMAGE.match(name)):
        return f"kermany-{match[1]}"
    return ""


def _labels(folder: str, name: str) -> tuple[str, ...]:
    labels = CLASSES.get(plain_name(folder), (folder,))
    if labels != ("Pneumonia",):
        return labels
    match = KIND.match(name)
    return (*labels, KINDS[match[1].lower()]) if match else labels


def _dataset_of(root: Path, labels: set[str]) -> str:
    if labels <= BRAIN_LABELS:
        return "brain-mri"
    if labels == {"Normal", "Tuberculosis"}:
        return "tb"
    return root.resolve().name


def _images(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield (split, class folder, image) in a stable order."""
    folders = _folders(root)
    splits = [folder for folder in folders if folder.name.lower() in SPLITS]
    if splits:
        for folder in splits:
            for part in _folders(folder):
                yield from _images_of(SPLITS[folder.name.lower()], part)
    elif len(folders) == 1 and not _has_images(folders[0]):
        # Archives often unpack to one folder around the class folders.
        yield from _images(folders[0])
    else:
        for part in folders:
            yield from _images_of("", part)


def _images_of(split: str, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield the images of a class: in its folder, or in `images` beside `masks`."""
    inner = (part for part in _folders(folder) if part.name.lower() == IMAGES_FOLDER)
    for image in _files(next(inner, folder)):
        yield split, folder.name, image


def _has_images(folder: Path) -> bool:
    return next(_files(folder), None) is not None


def _files(folder: Path) -> Iterator[Path]:
    for image in sorted(folder.iterdir()):
        if image.name.startswith(".") or MASK_FILE.fullmatch(image.stem):
            continue
        if image.suffix.lower() in IMAGE_SUFFIXES:
            yield image


def _folders(root: Path) -> list[Path]:
    """Return the subfolders, without hidden ones, those of macOS, and masks."""
    return sorted(
        Path(entry.path)
        for entry in os.scandir(root)
        if entry.is_dir()
        and not entry.name.startswith((".", "__"))
        and not MASK_FOLDER.search(entry.name)
    )
