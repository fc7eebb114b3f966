"""REST routes of all apps, with OpenAPI schema and documentation."""

from django.urls import URLPattern, URLResolver, path
from django.utils.translation import gettext
from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import SimpleRouter

from accounts.api.sign_in import TokenView
from chestx_site.web.documentation import DocumentationView
from diagnoses.api import routes as diagnoses_routes
from patients.api import routes as patients_routes


class ScopedTokenScheme(OpenApiAuthenticationExtension):
    """Token authentication in the OpenAPI schema."""

    target_class = "accounts.tokens.ScopedTokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        """Return the security scheme object (OpenAPI 3.0.3, 4.8.27)."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": gettext("`Token …`, from `POST /api/v1/auth/token/`."),
        }


class UploadSessionScheme(SessionScheme):
    """Session authentication of the uploads, the same as elsewhere for a client."""

    target_class = "diagnoses.api.uploads.SessionAfterRoleCheck"
    name = "uploadCookieAuth"


router = SimpleRouter()
for prefix, viewset, basename in (*patients_routes, *diagnoses_routes):
    router.register(prefix, viewset, basename=basename)

urlpatterns: list[URLPattern | URLResolver] = [
    path("auth/token/", TokenView.as_view(), name="auth-token"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", DocumentationView.as_view(), name="docs"),
    *router.urls,
]
