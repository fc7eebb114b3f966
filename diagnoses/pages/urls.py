"""The pages, and the fragments and pictures that they ask for."""

from django.urls import path

from diagnoses.pages import accesses, patients, preferences
from diagnoses.pages.model import comparison
from diagnoses.pages.model import views as model
from diagnoses.pages.study import pixels
from diagnoses.pages.study import views as study
from diagnoses.pages.upload import views as upload
from diagnoses.pages.worklist import views as worklist

urlpatterns = [
    path("", worklist.worklist, name="worklist"),
    path("worklist/changes/", worklist.changes, name="worklist-changes"),
    path("patients/<uuid:patient_id>/", patients.history, name="patient"),
    path("accesses/", accesses.search, name="accesses"),
    path(
        "accesses/<uuid:patient_id>/", accesses.of_patient, name="accesses-of-patient"
    ),
    path("studies/<uuid:study_id>/", study.study, name="study"),
    path("studies/<uuid:study_id>/results/", study.results, name="study-results"),
    path("studies/<uuid:study_id>/changes/", study.changes, name="study-changes"),
    path("predictions/<uuid:prediction_id>/retry/", study.retry, name="retry"),
    path("images/<uuid:instance_id>/<int:frame>.png", pixels.image, name="image"),
    path(
        "images/<uuid:instance_id>/<int:frame>/annotations.png",
        pixels.annotations,
        name="annotations",
    ),
    path("findings/<uuid:finding_id>/layer.png", pixels.heat_layer, name="heat-layer"),
    path("preferences/heat-map/", preferences.heat_map, name="heat-map-preference"),
    path("upload/", upload.upload, name="upload"),
    path("uploads/<uuid:upload_id>/result/", upload.result, name="upload-result"),
    path("models/", model.models, name="models"),
    path("models/compare/", comparison.comparison, name="model-compare"),
    path("models/<slug:name>/", model.model, name="model"),
    path("models/<slug:name>/decide/", model.decide, name="model-decide"),
    path("models/<slug:name>/thresholds/", model.thresholds, name="model-thresholds"),
    path("models/<slug:name>/curves.svg", model.curves, name="model-curves"),
]
