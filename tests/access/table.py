"""What each role may do at each route: the one table that the walk compares with.

A row says for each method which permission it needs. `limited` rows are about an object
of a department: for everyone else it is as if it did not exist. `keyed` rows are about
an object without a department, such as a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from accounts.access import Action
from accounts.models import Role

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SAFE = ("GET", "HEAD")
REST_SAFE = (*SAFE, "OPTIONS")

_CLINICAL = {Role.RADIOLOGIST, Role.CLINICIAN, Role.TECHNOLOGIST, Role.INTEGRATION}
_SENDERS = {Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.INTEGRATION}
ROLES_OF: Mapping[Action, set[Role]] = {
    Action.UPLOAD: {*_SENDERS, Role.ADMIN},
    Action.READ_PATIENTS: {*_CLINICAL, Role.AUDITOR, Role.ADMIN},
    Action.READ_IMAGES: {*_CLINICAL, Role.ADMIN},
    Action.READ_RESULTS: {*_CLINICAL, Role.ADMIN},
    Action.READ_MODELS: set(Role),
    Action.READ_SHADOW: {Role.DATA_SCIENTIST, Role.ADMIN},
    Action.RETRY_PREDICTION: {*_SENDERS, Role.ADMIN},
    Action.REVIEW: {Role.RADIOLOGIST, Role.ADMIN},
    Action.RESOLVE_CONFLICT: {Role.ADMIN},
    Action.READ_AUDIT: {Role.AUDITOR, Role.ADMIN},
    Action.ADMINISTER: {Role.ADMIN},
}
# They see the objects of every department.
UNLIMITED = {Role.ADMIN, Role.AUDITOR}


@dataclass(frozen=True)
class Row:
    """The row of a route.

    Attributes:
        needs: The permissions by method; an empty set for every signed-in user, no
            entry for a method that is not offered.
        limited: Whether its object belongs to a department.
        keyed: Whether its object has no department, so that only a key can be unknown.
        nothing_there: Whether the walk's own object lacks what the route shows: 404.
    """

    needs: Mapping[str, frozenset[Action]] = field(default_factory=dict)
    limited: bool = False
    keyed: bool = False
    nothing_there: bool = False


def _page(*actions: Action, post: Action | None = None, **about: bool) -> Row:
    needs = dict.fromkeys(SAFE, frozenset(actions))
    if post is not None:
        needs["POST"] = frozenset({post})
    return Row(needs, **about)


def _form(*actions: Action, **about: bool) -> Row:
    return Row({"POST": frozenset(actions)}, **about)


def _rest(
    *actions: Action,
    only: Action | None = None,
    post: Action | None = None,
    **about: bool,
) -> Row:
    """Return a row of REST; OPTIONS needs the action of the whole collection."""
    needs = dict.fromkeys(SAFE, frozenset(actions))
    needs["OPTIONS"] = frozenset({only or actions[0]})
    if post is not None:
        needs["POST"] = frozenset({post})
    return Row(needs, **about)


def _rest_form(action: Action, *, only: Action, **about: bool) -> Row:
    return Row({"POST": frozenset({action}), "OPTIONS": frozenset({only})}, **about)


def _admin(*actions: Action, **about: bool) -> Row:
    """Return a row of the admin site, which answers every method."""
    return Row(
        dict.fromkeys(METHODS, frozenset({Action.READ_AUDIT, *actions})), **about
    )


SIGNED_IN: frozenset[Action] = frozenset()

PAGES = {
    # It leads users who are signed in to the worklist, by every method.
    "sign-in": Row(dict.fromkeys(METHODS, SIGNED_IN)),
    "sign-out": Row({"POST": SIGNED_IN, "OPTIONS": SIGNED_IN}),
    "password-change": Row(
        {method: SIGNED_IN for method in (*SAFE, "POST", "PUT", "OPTIONS")}
    ),
    "session": _page(),
    "accesses": _page(Action.READ_AUDIT),
    # An erased patient has accesses, too: any key is answered.
    "accesses-of-patient": _page(Action.READ_AUDIT),
    "healthz": _page(),
    "readyz": _page(),
    # Without the right to read patients it leads to the models.
    "worklist": _page(Action.READ_MODELS),
    "worklist-changes": _page(Action.READ_PATIENTS),
    "patient": _page(Action.READ_PATIENTS, limited=True),
    "study": _page(Action.READ_PATIENTS, limited=True),
    "study-results": _page(Action.READ_PATIENTS, limited=True),
    "study-changes": _page(Action.READ_PATIENTS, limited=True),
    "retry": _form(Action.RETRY_PREDICTION, limited=True),
    "image": _page(Action.READ_IMAGES, limited=True),
    "annotations": _page(Action.READ_IMAGES, limited=True),
    "heat-layer": _page(Action.READ_IMAGES, Action.READ_RESULTS, limited=True),
    "heat-map-preference": _form(Action.READ_IMAGES),
    "upload": _page(Action.UPLOAD, post=Action.UPLOAD),
    "upload-result": _page(Action.UPLOAD, limited=True),
    "models": _page(Action.READ_MODELS),
    "model-compare": _page(Action.READ_SHADOW),
    "model": _page(Action.READ_MODELS, keyed=True),
    # No version is named.
    "model-decide": _form(Action.ADMINISTER, keyed=True, nothing_there=True),
    "model-thresholds": _form(Action.ADMINISTER, keyed=True, nothing_there=True),
    "model-curves": _page(Action.READ_MODELS, keyed=True, nothing_there=True),
}
_PATIENTS, _RESULTS, _MODELS = (
    Action.READ_PATIENTS,
    Action.READ_RESULTS,
    Action.READ_MODELS,
)
REST = {
    "auth-token": Row({"POST": SIGNED_IN, "OPTIONS": SIGNED_IN}),
    "schema": Row(dict.fromkeys(REST_SAFE, SIGNED_IN)),
    "docs": Row(dict.fromkeys(SAFE, SIGNED_IN)),
    **{f"{kind}-list": _rest(_PATIENTS) for kind in ("patient", "study")},
    **{f"{kind}-list": _rest(_PATIENTS) for kind in ("series", "instance")},
    **{
        f"{kind}-detail": _rest(_PATIENTS, limited=True)
        for kind in ("patient", "study", "series", "instance", "upload")
    },
    "instance-file": _rest(_PATIENTS, Action.READ_IMAGES, limited=True),
    "instance-original": _rest(
        _PATIENTS, Action.READ_IMAGES, limited=True, nothing_there=True
    ),
    "upload-list": _rest(_PATIENTS, post=Action.UPLOAD),
    "worklist-entry-list": _rest(_PATIENTS),
    "worklist-entry-detail": _rest(_PATIENTS, limited=True),
    "prediction-list": _rest(_RESULTS),
    "prediction-detail": _rest(_RESULTS, limited=True),
    "prediction-heatmap": _rest(
        Action.READ_IMAGES, _RESULTS, only=_RESULTS, limited=True
    ),
    "prediction-retry": _rest_form(
        Action.RETRY_PREDICTION, only=_RESULTS, limited=True
    ),
    "model-list": _rest(_MODELS),
    "model-detail": _rest(_MODELS, keyed=True),
    "api:model-compare": _rest(Action.READ_SHADOW, only=_MODELS),
    # The form is checked before the model is sought.
    "model-operating-points": _rest(_MODELS, post=Action.ADMINISTER),
    **{
        f"model-{decision}": _rest_form(Action.ADMINISTER, only=_MODELS)
        for decision in ("activate", "retire", "rollback", "shadow")
    },
}
ADMINISTER = Action.ADMINISTER
# Django gives these two no name.
FORMER_ADDRESS, NO_PAGE = "admin:former_address", "admin:no_page"
ADMIN_SITE = {
    **{
        f"admin:{name}": _admin()
        for name in ("index", "password_change", "password_change_done", "jsi18n")
    },
    "admin:login": _admin(),
    "admin:logout": _admin(),
    # An auditor sees no model of the app that the walk names.
    "admin:app_list": _admin(nothing_there=True),
    "admin:auth_user_password_change": _admin(ADMINISTER, keyed=True),
    "admin:patients_study_assign": _admin(Action.RESOLVE_CONFLICT, limited=True),
    "admin:patients_study_reconcile": _admin(Action.RESOLVE_CONFLICT, limited=True),
    # It leads on, whatever the key.
    FORMER_ADDRESS: _admin(),
    NO_PAGE: _admin(nothing_there=True),
}


@dataclass(frozen=True)
class Managed:
    """How a model is managed on the admin site."""

    view: Action = Action.ADMINISTER
    add: bool = False
    change: bool = False
    delete: bool = False
    limited: bool = False


_OF_A_PATIENT = Managed(limited=True)
MANAGED = {
    "accounts_user": Managed(add=True, change=True),
    "accounts_department": Managed(add=True, change=True),
    "accounts_token": Managed(delete=True),
    "accounts_auditevent": Managed(view=Action.READ_AUDIT),
    "accounts_failedsignins": Managed(delete=True),
    "patients_patient": Managed(change=True, limited=True),
    "patients_study": _OF_A_PATIENT,
    "patients_series": _OF_A_PATIENT,
    "patients_instance": _OF_A_PATIENT,
    "patients_upload": _OF_A_PATIENT,
    "patients_patientcorrection": _OF_A_PATIENT,
    "patients_patientassignment": _OF_A_PATIENT,
    "patients_identitydiscrepancy": _OF_A_PATIENT,
    "patients_flagreconciliation": _OF_A_PATIENT,
    "diagnoses_prediction": _OF_A_PATIENT,
    "diagnoses_finding": _OF_A_PATIENT,
    "diagnoses_heatmap": _OF_A_PATIENT,
    "diagnoses_worklistentry": _OF_A_PATIENT,
    "diagnoses_modelversion": Managed(),
    "diagnoses_statechange": Managed(),
    "diagnoses_siteacceptance": Managed(),
    "diagnoses_operatingpoint": Managed(add=True),
}


def _managed(name: str, how: Managed) -> dict[str, Row]:
    """Return the rows of a model: its list, its forms and its history."""
    about = {"limited": how.limited, "keyed": not how.limited}
    view, closed = _admin(how.view, **about), Row(**about)
    reading = dict.fromkeys(
        (method for method in METHODS if method != "POST"), view.needs["GET"]
    )
    return {
        f"admin:{name}_changelist": _admin(how.view),
        f"admin:{name}_add": _admin(ADMINISTER) if how.add else Row(),
        f"admin:{name}_change": view if how.change else Row(reading, **about),
        f"admin:{name}_delete": _admin(ADMINISTER, **about) if how.delete else closed,
        # It leads to the events of the key, whatever it is.
        f"admin:{name}_history": _admin(),
    }


TABLE: dict[str, Row] = {
    **PAGES,
    **REST,
    **ADMIN_SITE,
    **{
        route: row
        for name, how in MANAGED.items()
        for route, row in _managed(name, how).items()
    },
}


def allows(row: Row, method: str, role: Role) -> bool:
    """Return whether the row lets the role use the method."""
    needs = row.needs.get(method)
    return needs is not None and all(role in ROLES_OF[action] for action in needs)
