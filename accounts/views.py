"""Pages for sign-in, sign-out and password change."""

from http import HTTPStatus

from django.conf import settings
from django.contrib.auth import views as auth_views
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse_lazy
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.audit import AuditAction, AuditSource, Outcome
from accounts.errors import AuditUnavailable, TooManyTries
from accounts.forms import LONGEST_USER_NAME, SignInForm
from accounts.middleware import is_api, problem_json
from accounts.models import Token


class SignInView(auth_views.LoginView):
    """The sign-in page, also used by the admin site."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True
    extra_context = {"longest_user_name": LONGEST_USER_NAME}  # noqa: RUF012

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign in, unless the audit event cannot be written."""
        try:
            return super().form_valid(form)
        except AuditUnavailable:
            self.request.session.flush()
            raise


class SignOutView(auth_views.LogoutView):
    """Sign out (POST only)."""


@require_safe
def session(request: HttpRequest) -> JsonResponse:
    """Answer who is signed in, so that a page knows whether it may still be seen."""
    return JsonResponse({"user": str(request.user.pk)})


class PasswordView(auth_views.PasswordChangeView):
    """Change the user's own password; other sessions of the user end."""

    template_name = "accounts/password_change.html"
    success_url = reverse_lazy("worklist")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        """Change the password and delete the user's tokens."""
        with transaction.atomic():
            self._record(Outcome.SUCCESS)
            Token.objects.filter(user_id=self.request.user.pk).delete()
            return super().form_valid(form)

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        """Show the errors; record an attempt with a wrong old password."""
        if "old_password" in form.errors:
            self._record(Outcome.REFUSED)
        return super().form_invalid(form)

    def _record(self, outcome: str) -> None:
        user = self.request.user
        audit.record(
            action=AuditAction.CHANGE_PASSWORD,
            actor=user,
            request=self.request,
            source=AuditSource.WEB,
            object_kind="user",
            object_uuid=user.pk,
            outcome=outcome,
        )


def locked_out(
    request: HttpRequest,
    original_response: HttpResponse | None = None,
    credentials: dict[str, object] | None = None,
) -> HttpResponse:
    """Answer a locked-out user (AXES_LOCKOUT_CALLABLE)."""
    wait_s = int(settings.AXES_COOLOFF_TIME.total_seconds())
    minutes = wait_s // 60
    error = TooManyTries(
        ngettext(
            "Too many failed sign-ins for this user name. "
            "Try again in %(minutes)d minute.",
            "Too many failed sign-ins for this user name. "
            "Try again in %(minutes)d minutes.",
            minutes,
        ),
        params={"minutes": minutes},
        retry_after=wait_s,
    )
    if is_api(request):
        return problem_json(error)
    answer = render(
        request,
        SignInView.template_name,
        # The template needs no more; a real form would check the password again.
        {
            "form": {
                "non_field_errors": [error.message],
                "is_bound": True,
                "username": {"value": request.POST.get("username", "")},
            },
            "longest_user_name": LONGEST_USER_NAME,
        },
        status=HTTPStatus.TOO_MANY_REQUESTS,
    )
    for name, value in error.headers.items():
        answer[name] = value
    return answer
