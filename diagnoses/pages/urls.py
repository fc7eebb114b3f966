"""The pages, and the fragments and pictures that they ask for."""

from django.urls import path

from diagnoses.pages import (
    comparisons,
    films,
    models,
    patients,
    studies,
    uploads,
    worklist,
)

urlpatterns = [
    path("", worklist.worklist, name="worklist"),
    path("worklist/changes/", worklist.changes, name="worklist-changes"),
    path("patients/<uuid:patient_id>/", patients.history, name="patient"),
    path("studies/<uuid:study_id>/", studies.study, name="study"),
    path("studies/<uuid:study_id>/readings/", studies.readings, name="study-readings"),
    path("studies/<uuid:study_id>/changes/", studies.changes, name="study-changes"),
    path("predictions/<uuid:prediction_id>/retry/", studies.retry, name="retry"),
    path("films/<uuid:instance_id>/<int:frame>.png", films.film, name="film"),
    path("findings/<uuid:finding_id>/layer.png", films.heat_layer, name="heat-layer"),
    path("upload/", uploads.upload, name="upload"),
    path("uploads/<uuid:upload_id>/result/", uploads.result, name="upload-result"),
    path("models/", models.models, name="models"),
    path("models/compare/", comparisons.comparison, name="model-compare"),
    path("models/<slug:name>/", models.model, name="model"),
    path("models/<slug:name>/decide/", models.decide, name="model-decide"),
    path("models/<slug:name>/thresholds/", models.thresholds, name="model-thresholds"),
    path("models/<slug:name>/curves.svg", models.curves, name="model-curves"),
]
