"""The texts of the shipped models' cards, and what is measured of each model.

Metrics that a text quotes are placeholders, filled from the card's own measurements;
see `ml.cards.quoted`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml.cards.contents import TrainingSource
from ml.cards.measurements import Measurement
from ml.cards.quoted import with_metrics
from ml.errors import TrainingError

DECISION_SUPPORT = "Decision support, not for diagnosis without regulatory approval."

CHEST_ACCEPTS: dict[str, Any] = {
    "modalities": ["CR", "DX", "RG"],
    "body_parts": ["CHEST", "THORAX", "LUNG"],
    "views": ["AP", "PA"],
}
BRAIN_ACCEPTS: dict[str, Any] = {
    "modalities": ["MR"],
    "body_parts": ["HEAD", "BRAIN", "SKULL"],
    "views": [],
    "ages": "The ages of the patients are not known; the age is not checked.",
}

CHEST_INTENDED_USE = (
    f"{DECISION_SUPPORT} Orders and annotates frontal chest radiographs for a "
    "radiologist who reads every image; a score is a hint where to look, never a "
    "reason to leave an image unread."
)
BRAIN_INTENDED_USE = (
    f"{DECISION_SUPPORT} Annotates single contrast-enhanced slices of a brain MRI for "
    "a radiologist who reads the whole examination; a slice is never the examination."
)

HEAT_MAP_LIMIT = (
    "A heat map shows where the network looked, not why, in cells of some 8 to 32 "
    "input pixels; it outlines no lesion."
)
SQUASHED_LIMIT = (
    "Most training images arrived squashed to 224 x 224 pixels as 8-bit JPEG; fine "
    "detail was never seen."
)
PREVALENCE_LIMIT = (
    "Probabilities are calibrated for the mix of classes and sources of the training "
    "data; elsewhere prevalence differs and so do honest probabilities."
)
SOURCE_LIMIT = (
    "Source cannot be told from disease with these data for COVID-19, Tuberculosis "
    "and Emphysema: each comes from a source of its own, and a border-and-histogram "
    "baseline reaches an AUC of {val.Tuberculosis.auc.baseline} for Tuberculosis and "
    "of {val.Emphysema.auc.baseline} for Emphysema. No accuracy is claimed for these "
    "classes."
)
CHILDREN_LIMIT = (
    "Pneumonia was learned from children of 1 to 5 years of one hospital in Guangzhou, "
    "all AP; nothing follows for adults or another hospital."
)
REPORTS_LIMIT = (
    "The NIH labels were mined from reports by a program and are wrong now and then; "
    "most labels have few positives here."
)

SHARED_LIMIT = (
    "The network is shared by four models and has learned from the images of all of "
    "them, images for research use among them (tuberculosis, Rahman et al. 2020). It "
    "began from ImageNet weights of EfficientNet-Lite0 (Apache-2.0)."
)
HEADS_AGREE_LIMIT = (
    "The four models see the same features: that they agree says less than it seems."
)

COMMON_NOT_MEASURED = (
    "Images of any hospital or device that is not in the data named here.",
    "The official test sets of the sources.",
    "Fairness by origin; by sex and age wherever the data do not say them.",
    "What happens when clinicians work with it.",
)

DATASETS: dict[str, dict[str, str]] = {
    "kermany": {
        "ages": "children of 1 to 5 years",
        "place": "Guangzhou Women and Children's Medical Center; AP",
        "cite": "Kermany et al. 2018, doi:10.17632/rscbjbr9sj.3",
    },
    "nih": {
        "ages": "adults",
        "place": "NIH Clinical Center, ChestX-ray14 subset; AP and PA",
        "cite": "Wang et al. 2017",
    },
    "nih-emphysema": {
        "ages": "adults",
        "place": "NIH Clinical Center, ChestX-ray14 images with Emphysema, cropped to "
        "the lungs as ChestX6 has them; AP and PA",
        "cite": "Wang et al. 2017",
    },
    "hannover": {
        "ages": "adults",
        "place": "Hannover Medical School, mostly supine AP",
        "cite": "doi:10.6084/m9.figshare.12275009",
    },
    "tb": {
        "ages": "adults",
        "place": "several hospitals (NLM, Belarus and NIAID collections); PA",
        "cite": "Rahman et al. 2020, doi:10.1109/ACCESS.2020.3031384; research use: "
        "these weights were trained on it",
    },
    "sakha-tb": {
        "ages": "adults",
        "place": "one collection of Yakutia, with and without tuberculosis",
        "cite": "Pchelintsev et al. 2022",
    },
    "brain-mri": {
        "ages": "not known",
        "place": "a public collection of contrast-enhanced slices; axial, coronal and "
        "sagittal",
        "cite": "MIT licence; no patient identifiers",
    },
}

VAL_USE = (
    "The val split was looked at after each epoch, for the curves, and chose nothing: "
    "neither epoch, size, calibration, thresholds nor sets. The {kept} was "
    "kept; the rest comes from training patients held out from learning."
)


@dataclass(frozen=True)
class PlannedMeasurement:
    """A measurement on val that a model's card has.

    `datasets` names the sources of the images; none: all of them. `pair` names two
    labels whose separation is measured as well.
    """

    key: str
    datasets: tuple[str, ...] = ()
    change: str = "none"
    baseline: bool = False
    pair: tuple[str, str] | None = None


BACTERIAL_AGAINST_VIRAL = ("Bacterial pneumonia", "Viral pneumonia")
# Every source with one of its labels but rsna-normal, which no model learns from.
LEARNED_BY_CHESTX6 = (
    "kermany",
    "nih",
    "nih-emphysema",
    "hannover",
    "tb",
    "sakha-tb",
)
NIH = (
    PlannedMeasurement("val_nih_emphysema", ("nih-emphysema",), baseline=True),
    PlannedMeasurement("val_nih", ("nih",), baseline=True),
    PlannedMeasurement("val_both", ("nih", "nih-emphysema")),
    PlannedMeasurement(
        "val_nih_emphysema_crop_tenth", ("nih-emphysema",), "crop-tenth"
    ),
)
BRAIN = (
    PlannedMeasurement("val_brain_mri", ("brain-mri",), baseline=True),
    *(
        PlannedMeasurement(f"val_brain_mri_{change}", ("brain-mri",), change)
        for change in ("shifted", "rotated", "rescaled")
    ),
)


@dataclass(frozen=True)
class Facts:
    """The texts of one model's card, and what is measured for it.

    `operating_point` is the set of thresholds that the model uses until another is set.
    """

    accepts: Mapping[str, Any]
    intended_use: str
    limits: tuple[str, ...]
    not_measured: tuple[str, ...]
    default: bool = False
    operating_point: str = "youden"
    measurements: tuple[PlannedMeasurement, ...] = ()

    def limits_with_metrics(
        self,
        measurements: Sequence[Measurement],
        training_data: Sequence[TrainingSource],
    ) -> list[str]:
        """Return the limits with the metrics that they quote from the card.

        Raises:
            ModelError: The card lacks a metric that a limit quotes.
        """
        return [
            with_metrics(limit, measurements, training_data) for limit in self.limits
        ]


FACTS: dict[str, Facts] = {
    "chestx6-resnet50": Facts(
        accepts={
            **CHEST_ACCEPTS,
            "ages": "Trained on children of 1 to 5 years (all pneumonia images and "
            "most Normal images) and on adults (COVID-19, Tuberculosis, Emphysema and "
            "some Normal images). Ages between were not seen. Each label is scored at "
            "the ages of its sources only.",
        },
        intended_use=CHEST_INTENDED_USE,
        limits=(
            "Goals not reached on val within kermany: balanced accuracy over its three "
            "classes 0.82 (reached: {val_kermany.balanced_accuracy}), bacterial "
            "against viral AUC 0.85 (reached: {val_kermany.pair.auc}). Training: 107 "
            "minutes from random weights (1.0.1: 0.79), then 62 with crops around the "
            "lungs, images of nothing but lungs and mixed images, which are these. "
            "Their intercepts, fitted on held-out patients, raise the balanced "
            "accuracy from 0.76 to {val_kermany.balanced_accuracy} on images as they "
            "are, and lower it from 0.78 to "
            "{val_kermany_crop_tenth.balanced_accuracy} where the outer tenth is "
            "cropped. The limits are two CPU cores and images of 224 pixels.",
            SOURCE_LIMIT,
            CHILDREN_LIMIT,
            "An adult's pneumonia may be scored as an adult class, and a child's "
            "tuberculosis as pneumonia.",
            "Bacterial against viral pneumonia is hard for readers too; see the "
            "metric within the source, and do not choose a treatment by it.",
            "Exactly one of six labels is assumed. An image with two findings, or with "
            "one that is none of the six, is forced into them.",
            PREVALENCE_LIMIT,
            SQUASHED_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=(
            *COMMON_NOT_MEASURED,
            "Tuberculosis and COVID-19 in children; pneumonia in adults with a "
            "confirmed cause.",
        ),
        measurements=(
            PlannedMeasurement(
                "val_kermany", ("kermany",), baseline=True, pair=BACTERIAL_AGAINST_VIRAL
            ),
            PlannedMeasurement(
                "val_kermany_crop_tenth",
                ("kermany",),
                "crop-tenth",
                pair=BACTERIAL_AGAINST_VIRAL,
            ),
            PlannedMeasurement("val", baseline=True),
        ),
    ),
    "chest-efficientnet-chestx6": Facts(
        accepts={
            **CHEST_ACCEPTS,
            "ages": "Bacterial and viral pneumonia and most Normal images were learned "
            "from children of 1 to 5 years; COVID-19, Tuberculosis, Emphysema and the "
            "other Normal images from adults. Ages between were not seen; the age is "
            "not checked.",
        },
        intended_use=CHEST_INTENDED_USE,
        limits=(
            "Source cannot be told from disease for COVID-19 and Emphysema, nor for "
            "most images with Tuberculosis: they come from sources of their own, and a "
            "border-and-histogram baseline reaches an AUC of "
            "{val.Emphysema.auc.baseline} for Emphysema and of "
            "{val.Tuberculosis.auc.baseline} for Tuberculosis. No accuracy is claimed "
            "for these classes.",
            CHILDREN_LIMIT,
            "An adult's pneumonia may be scored as an adult class, and a child's "
            "tuberculosis as pneumonia.",
            "Bacterial against viral pneumonia is hard for readers too (AUC "
            "{val_kermany.pair.auc|interval}): do not choose a treatment by it.",
            "Exactly one of six labels is assumed. An image with two findings, or with "
            "one that is none of the six, is forced into them.",
            SHARED_LIMIT,
            HEADS_AGREE_LIMIT,
            PREVALENCE_LIMIT,
            SQUASHED_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=(
            *COMMON_NOT_MEASURED,
            "Tuberculosis and COVID-19 in children; pneumonia in adults with a "
            "confirmed cause.",
        ),
        default=True,
        measurements=(
            PlannedMeasurement(
                "val_kermany", ("kermany",), baseline=True, pair=BACTERIAL_AGAINST_VIRAL
            ),
            PlannedMeasurement(
                "val_kermany_crop_tenth",
                ("kermany",),
                "crop-tenth",
                pair=BACTERIAL_AGAINST_VIRAL,
            ),
            PlannedMeasurement("val", LEARNED_BY_CHESTX6, baseline=True),
        ),
    ),
    "chest-efficientnet-pneumonia": Facts(
        accepts={
            **CHEST_ACCEPTS,
            "ages": "Trained on children of 1 to 5 years and on adults; ages between "
            "were not seen. The age is not checked.",
        },
        intended_use=CHEST_INTENDED_USE,
        limits=(
            "Learned from children of one hospital in Guangzhou and from adults of one "
            "in Maryland. A border-and-histogram baseline reaches an AUC of "
            "{val_kermany.mean_auc.baseline} among the children and of "
            "{val_nih.mean_auc.baseline} among the adults, and the view alone says "
            "much among the adults: sick people are taken lying down.",
            "Pneumonia of adults was mined from reports by a program, which is wrong "
            "now and then; no cause was confirmed.",
            "Adults without pneumonia were chosen for having no finding at all: other "
            "diseases of the lungs may be scored as pneumonia.",
            SHARED_LIMIT,
            HEADS_AGREE_LIMIT,
            PREVALENCE_LIMIT,
            SQUASHED_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=(
            *COMMON_NOT_MEASURED,
            "Pneumonia against other diseases of the lungs.",
        ),
        measurements=(
            PlannedMeasurement("val_kermany", ("kermany",), baseline=True),
            PlannedMeasurement("val_kermany_crop_tenth", ("kermany",), "crop-tenth"),
            PlannedMeasurement("val_nih", ("nih",), baseline=True),
            PlannedMeasurement("val_nih_crop_tenth", ("nih",), "crop-tenth"),
        ),
    ),
    "chest-efficientnet-tuberculosis": Facts(
        accepts={
            **CHEST_ACCEPTS,
            "ages": "Trained on adults only. The age is not checked.",
        },
        intended_use=CHEST_INTENDED_USE,
        limits=(
            "Tuberculosis was learned from one small collection, which has images of "
            "healthy adults as well; val within it has {val_sakha_tb.images} images, "
            "and a border-and-histogram baseline reaches an AUC of "
            "{val_sakha_tb.mean_auc.baseline|interval} on them.",
            "Nothing follows for another hospital: further images without tuberculosis "
            "come from other sources, and letters in the corners of the collection "
            "follow the order of its files.",
            "Images with other diseases were not among the negatives: their scores "
            "mean nothing.",
            SHARED_LIMIT,
            HEADS_AGREE_LIMIT,
            PREVALENCE_LIMIT,
            SQUASHED_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=(
            *COMMON_NOT_MEASURED,
            "Tuberculosis against other diseases of the lungs.",
            "Tuberculosis in children; healed tuberculosis.",
        ),
        measurements=(
            PlannedMeasurement("val_sakha_tb", ("sakha-tb",), baseline=True),
            PlannedMeasurement("val_sakha_tb_crop_tenth", ("sakha-tb",), "crop-tenth"),
        ),
    ),
    "chest-efficientnet-nih": Facts(
        accepts={**CHEST_ACCEPTS, "ages": "Trained on adults, mostly."},
        intended_use=CHEST_INTENDED_USE,
        limits=(
            "Within nih-emphysema the mean AUC is {val_nih_emphysema.mean_auc|interval}"
            "; a border-and-histogram baseline reaches "
            "{val_nih_emphysema.mean_auc.baseline}.",
            REPORTS_LIMIT,
            "Emphysema: nearly every image with it comes from one crop, nearly every "
            "image without from another; source cannot be told from disease, and no "
            "accuracy is claimed. The same holds for No Finding over both sources.",
            "Labels with fewer than 20 positives or negatives are reported as too few.",
            SHARED_LIMIT,
            HEADS_AGREE_LIMIT,
            PREVALENCE_LIMIT,
            SQUASHED_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=COMMON_NOT_MEASURED,
        measurements=NIH,
    ),
    "tuberculosis-resnet50": Facts(
        accepts={
            **CHEST_ACCEPTS,
            "ages": "Tuberculosis was learned from adults; images without it from "
            "adults and from children of 1 to 5 years. Only adults are scored.",
        },
        intended_use=CHEST_INTENDED_USE,
        limits=(
            "Source not separable from disease: every image with tuberculosis comes "
            "from one collection, every image without from others, and a "
            "border-and-histogram baseline reaches an AUC of {val.mean_auc.baseline}. "
            "No accuracy is claimed.",
            "The weights were trained on data for research use (Rahman et al. 2020).",
            "Images with other diseases were not among the negatives: their scores "
            "mean nothing.",
            PREVALENCE_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=(
            *COMMON_NOT_MEASURED,
            "Tuberculosis against other diseases of the lungs.",
            "Tuberculosis in children; healed tuberculosis.",
        ),
        measurements=(
            PlannedMeasurement("val", ("tb", "nih", "kermany"), baseline=True),
            PlannedMeasurement(
                "val_crop_tenth", ("tb", "nih", "kermany"), "crop-tenth"
            ),
        ),
    ),
    "pneumonia-cnn": Facts(
        accepts={
            **CHEST_ACCEPTS,
            "ages": "Trained on children of 1 to 5 years only. Others are not scored.",
        },
        intended_use=CHEST_INTENDED_USE,
        limits=(
            CHILDREN_LIMIT,
            "A border-and-histogram baseline reaches an AUC of "
            "{val_kermany.mean_auc.baseline} on the same val images. One that also "
            "sees a thumbnail of 16 x 16 pixels reached 0.994 there and 0.91 on the "
            "official test set, which was drawn differently: val is saturated by "
            "shortcuts.",
            PREVALENCE_LIMIT,
            SQUASHED_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=COMMON_NOT_MEASURED,
        # On held-out training patients it loses least where borders are cropped.
        operating_point="sensitivity_98",
        measurements=(
            PlannedMeasurement("val_kermany", ("kermany",), baseline=True),
            PlannedMeasurement("val_kermany_crop_tenth", ("kermany",), "crop-tenth"),
            PlannedMeasurement("val_nih_never_trained_on", ("nih",)),
        ),
    ),
    "nih15-xception": Facts(
        accepts={
            **CHEST_ACCEPTS,
            "ages": "Trained on adults, mostly. Children are not scored.",
        },
        intended_use=CHEST_INTENDED_USE,
        limits=(
            "Goals not reached: a mean AUC of 0.68 within nih-emphysema over the "
            "labels with enough images (reached: "
            "{val_nih_emphysema.mean_auc_claimed}), each above 0.5 with its interval "
            "(Atelectasis is; Effusion, Mass and Pneumothorax are not). A "
            "border-and-histogram baseline does as well. Training: twenty minutes from "
            "random weights, which are these; from them 40 minutes of pre-training on "
            "all training chest images and 18 on the NIH images gave 0.59. The limits "
            "are 1,893 images of 224 pixels with labels mined from reports, seen a few "
            "times on two CPU cores.",
            REPORTS_LIMIT,
            "Emphysema: nearly every image with it comes from one crop, nearly every "
            "image without from another; source cannot be told from disease, and no "
            "accuracy is claimed. The same holds for No Finding over both sources.",
            "Labels with fewer than 20 positives or negatives are reported as too few.",
            PREVALENCE_LIMIT,
            SQUASHED_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=COMMON_NOT_MEASURED,
        measurements=NIH,
    ),
    "nih15-cnn": Facts(
        accepts={
            **CHEST_ACCEPTS,
            "ages": "Trained on adults, mostly. Children are not scored.",
        },
        intended_use=CHEST_INTENDED_USE,
        limits=(
            "A small network from random weights, kept as the plain comparison to "
            "nih15-xception. Within nih-emphysema it tells next to nothing: mean AUC "
            "{val_nih_emphysema.mean_auc_claimed} over the labels with enough images.",
            REPORTS_LIMIT,
            "Emphysema and No Finding: source cannot be told from disease.",
            PREVALENCE_LIMIT,
            SQUASHED_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=COMMON_NOT_MEASURED,
        measurements=NIH,
    ),
    "brain-tumour-xception": Facts(
        accepts=BRAIN_ACCEPTS,
        intended_use=BRAIN_INTENDED_USE,
        limits=(
            "Learned from {training_data.images} slices in 25 minutes on two CPU "
            "cores, from random weights; version 1.0.0, fourteen minutes on slower "
            "cores, reached an accuracy of 0.92 on val.",
            "val flatters: there are no patient identifiers, slices that look alike "
            "were kept on one side, yet neighbours of one patient may stand on both. "
            "A baseline on a thumbnail reaches 0.92 on val and 0.37 on the official "
            "test set.",
            "One slice with contrast agent is assumed; sequences, planes and a whole "
            "series are not understood.",
            "One of four answers is forced: metastases, bleeding and all else have no "
            "label.",
            PREVALENCE_LIMIT,
            HEAT_MAP_LIMIT,
        ),
        not_measured=COMMON_NOT_MEASURED,
        measurements=BRAIN,
    ),
}


def facts_of(name: str) -> Facts:
    """Return the texts of a model's card.

    Raises:
        TrainingError: There are none for that name.
    """
    if name not in FACTS:
        raise TrainingError(
            "There are no texts for the card of %(model)s in ml.cards.texts.",
            params={"model": name},
        )
    return FACTS[name]
