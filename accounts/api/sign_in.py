"""Sign-in over REST."""

from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.errors import NotSignedIn
from accounts.models import User
from accounts.tokens import issue_token


class CredentialsSerializer(serializers.Serializer):
    """User name and password."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(
        max_length=1024, trim_whitespace=False, style={"input_type": "password"}
    )


class IssuedTokenSerializer(serializers.Serializer):
    """The new token, returned once."""

    token = serializers.CharField(
        help_text=_(
            "For the header `Authorization: Token …`. ChestX stores only a digest."
        )
    )
    expiry = serializers.DateTimeField()


class TokenView(APIView):
    """Issue a token for a user name and password, scoped to the role."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        request=CredentialsSerializer, responses=IssuedTokenSerializer, auth=[]
    )
    def post(self, request: Request) -> Response:
        """Sign in a program; failed attempts are recorded and count for lock-outs."""
        credentials = CredentialsSerializer(data=request.data)
        credentials.is_valid(raise_exception=True)
        user = authenticate(request._request, **credentials.validated_data)
        if not isinstance(user, User):
            raise NotSignedIn(
                _("User name or password is wrong."), reason_code="wrong_credentials"
            )
        # Resets the count of failed attempts and writes the audit event.
        user_logged_in.send(sender=User, request=request._request, user=user)
        token, text = issue_token(user)
        return Response({"token": text, "expiry": token.expiry})
