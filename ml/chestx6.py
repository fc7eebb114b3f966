"""What the card of the ChestX6 model says that no computation can tell."""

from __future__ import annotations

from typing import Any

DECISION_SUPPORT = "Decision support, not for diagnosis."

ACCEPTS: dict[str, Any] = {
    "modalities": ["CR", "DX", "RG"],
    "body_parts": ["CHEST", "THORAX", "LUNG"],
    "views": ["AP", "PA"],
    "ages": (
        "Trained on children of 1 to 5 years (all pneumonia films and most Normal "
        "films) and on adults (COVID-19, Tuberculosis, Emphysema and some Normal "
        "films). Ages between were not seen; the age is not checked."
    ),
}

INTENDED_USE = (
    f"{DECISION_SUPPORT} Orders and annotates frontal chest radiographs for a "
    "radiologist who reads every film; a score is a hint where to look, never a "
    "reason to leave a film unread."
)

LIMITS = (
    "Sources differ by class: every COVID-19 film comes from one hospital, every "
    "tuberculosis film from one collection, every emphysema film from one crop of "
    "ChestX-ray14, every pneumonia film from one children's hospital. Source cannot "
    "be told from disease with these data; no accuracy is claimed for COVID-19, "
    "Tuberculosis and Emphysema, and on films from elsewhere those scores may "
    "reflect how a film was made.",
    "Pneumonia was learned from children, the other diseases from adults: an adult's "
    "pneumonia may be scored as an adult class, and a child's tuberculosis as "
    "pneumonia.",
    "Bacterial against viral pneumonia is hard for readers too; see the within-source "
    "figure, and do not choose a treatment by it.",
    "Classifiers that see only histogram, border and a 16 x 16 thumbnail reach a "
    "balanced accuracy of 0.78 over the three classes of the children's films and an "
    "AUC of 0.994 for pneumonia against normal on the same val split: read the "
    "figures here beside those.",
    "Exactly one of six labels is assumed. A film with two findings, or with a finding "
    "that is none of the six (effusion, nodule, pneumothorax, heart failure …), is "
    "forced into them.",
    "Scores are calibrated for the mix of classes and sources of the training data; "
    "elsewhere prevalence differs and so do honest probabilities.",
    "Most training films arrived squashed to 224 x 224 pixels as 8-bit JPEG; fine "
    "detail was never seen.",
    "A heat map shows where the score comes from, in cells of about 32 input pixels; "
    "it outlines no lesion.",
)

NOT_MEASURED = (
    "Films of any hospital or device that is not in the training data.",
    "The official test sets of the sources.",
    "Fairness by sex, age within groups, or origin.",
    "Tuberculosis and COVID-19 in children; pneumonia in adults with a confirmed "
    "cause.",
    "Whether heat maps lie on the findings.",
    "Lateral, oblique and lordotic films: laterals are turned away by header only.",
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
        "place": "NIH Clinical Center, ChestX-ray14 films with Emphysema, cropped to "
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
}

VAL_USE = (
    "The val split was looked at after each epoch, for the curves, and chose nothing: "
    "neither epoch, size, temperature nor thresholds. The last epoch was kept; size, "
    "temperature and thresholds come from training patients held out from learning."
)
