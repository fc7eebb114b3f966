"""Signing in and out, and the password."""

from http import HTTPStatus

from django.conf import settings
from django.contrib.auth import views as auth_views
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse_lazy

from accounts import audit
from accounts.audit import AuditAction, AuditSource, Outcome
from accounts.errors import AuditUnavailable, TooManyTries
from accounts.forms import SignInForm
from accounts.middleware import is_api, problem_json


class SignInView(auth_views.LoginView):
    """The one way in for people; the admin site sends here too."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign in; not, if the trail cannot tell of it."""
        try:
            return super().form_valid(form)
        except AuditUnavailable:
            self.request.session.flush()
            raise


class SignOutView(auth_views.LogoutView):
    """The way out (POST only)."""


class PasswordView(auth_views.PasswordChangeView):
    """Change one's own password; other sessions of the user end with it."""

    template_name = "accounts/password_change.html"
    success_url = reverse_lazy("worklist")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        """Change it, and end what was opened with the old one."""
        with transaction.atomic():
            self._record(Outcome.SUCCESS)
            self.request.user.auth_token_set.all().delete()
            return super().form_valid(form)

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        """Say what is wrong; a try with a wrong old password is recorded."""
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
    """Answer somebody who failed too often (AXES_LOCKOUT_CALLABLE)."""
    wait = settings.AXES_COOLOFF_TIME
    error = TooManyTries(
        "Signing in failed too often for this name. "
        f"Try again in {int(wait.total_seconds() // 60)} minutes.",
        retry_after=int(wait.total_seconds()),
    )
    if is_api(request):
        return problem_json(error)
    answer = render(
        request,
        SignInView.template_name,
        # The page reads no more of the form than this; a real one would try again.
        {"form": {"non_field_errors": [error.message], "is_bound": True}},
        status=HTTPStatus.TOO_MANY_REQUESTS,
    )
    for name, value in error.headers.items():
        answer[name] = value
    return answer
