"""Pages for sign-in, sign-out and password change."""

from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth import views as auth_views
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse_lazy
from django.views.decorators.http import require_safe

from accounts import audit
from accounts.audit import AuditAction, AuditSource, Outcome
from accounts.errors import AuditUnavailable, TooManyTries
from accounts.models import Token
from accounts.sign_in.forms import LONGEST_USER_NAME, PasswordForm, SignInForm


class SignInView(auth_views.LoginView):
    """The sign-in page, also used by the admin site."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True
    extra_context = {"longest_user_name": LONGEST_USER_NAME}  # noqa: RUF012

    def get_redirect_url(self, request: HttpRequest | None = None) -> str:
        """Return where to go on; never back to this page, which would go on too."""
        onward = super().get_redirect_url()
        return "" if urlsplit(onward).path == self.request.path else onward

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign in; show the form with the waiting time after too many failures."""
        try:
            return super().post(request, *args, **kwargs)
        except TooManyTries as error:
            # The template needs no more; a real form would check the password again.
            form = {
                "non_field_errors": [error.message],
                "is_bound": True,
                "username": {"value": request.POST.get("username", "")},
            }
            answer = render(
                request,
                self.template_name,
                {"form": form, "longest_user_name": LONGEST_USER_NAME},
                status=error.status,
            )
            for name, value in error.headers.items():
                answer[name] = value
            return answer

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
    form_class = PasswordForm
    success_url = reverse_lazy("worklist")

    def get_form_kwargs(self) -> dict[str, Any]:
        """Give the form the request, for the address of the tries."""
        return super().get_form_kwargs() | {"request": self.request}

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
