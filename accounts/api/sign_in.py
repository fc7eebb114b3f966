"""The REST source of signing in."""

from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
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
    """What somebody signs in with."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(
        max_length=1024, trim_whitespace=False, style={"input_type": "password"}
    )


class IssuedTokenSerializer(serializers.Serializer):
    """The token, told once."""

    token = serializers.CharField(
        help_text="For the header `Authorization: Token …`; only a digest is kept."
    )
    expiry = serializers.DateTimeField()


class TokenView(APIView):
    """A token for a name and a password: it opens what the user's role may do."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        request=CredentialsSerializer, responses=IssuedTokenSerializer, auth=[]
    )
    def post(self, request: Request) -> Response:
        """Sign in for programs; failed tries are recorded and count as on the page."""
        given = CredentialsSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        user = authenticate(request._request, **given.validated_data)
        if not isinstance(user, User):
            raise NotSignedIn(
                "This name and password do not fit.", reason_code="wrong_credentials"
            )
        # Resets the count of failed tries, and writes the event before the token.
        user_logged_in.send(sender=User, request=request._request, user=user)
        token, text = issue_token(user)
        return Response({"token": text, "expiry": token.expiry})
