"""All settings, read from the environment.

NAME_FILE may name a file that holds the value of NAME.

CHESTX_ENV is `development` (default: loopback only, with a banner) or `production`,
which does not start with an incomplete configuration. docs/deployment.md lists every
variable.
"""

import secrets
from datetime import timedelta
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from chestx_site import embedded
from ml.cards.card import default_card

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.FileAwareEnv()

CHESTX_ENV = env.str("CHESTX_ENV", "development")
if CHESTX_ENV not in ("development", "production"):
    raise ImproperlyConfigured(
        f"CHESTX_ENV is {CHESTX_ENV!r}; it must be 'development' or 'production'."
    )
PRODUCTION = CHESTX_ENV == "production"
if PRODUCTION:
    missing = [
        name
        for name in (
            *("SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL"),
            "PROXY_COUNT",
        )
        if not env.str(name, "")
    ]
    if missing:
        raise ImproperlyConfigured(
            f"CHESTX_ENV=production needs {', '.join(missing)} in the environment: "
            "see docs/deployment.md."
        )

# Stored with every result; a deployment sets its commit or image here.
SOFTWARE_VERSION = env.str("SOFTWARE_VERSION", "0.1.0")

# --- Where state lives -------------------------------------------------------
VAR_DIR = Path(env.str("VAR_DIR", str(BASE_DIR / "var"))).resolve()
CHESTX_DATA = Path(env.str("CHESTX_DATA", str(BASE_DIR.parent / "shared" / "data")))
PORT = env.int("PORT", 8000)

# --- Core --------------------------------------------------------------------
DEBUG = False
# Development uses a new key at each start; the demo keeps one in VAR_DIR.
SECRET_KEY = env.str("SECRET_KEY", "") or secrets.token_urlsafe(48)
SHORTEST_SECRET_KEY = 50
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
if PRODUCTION and len(SECRET_KEY) < SHORTEST_SECRET_KEY:
    raise ImproperlyConfigured(
        f"SECRET_KEY has {len(SECRET_KEY)} characters; production needs at least "
        f"{SHORTEST_SECRET_KEY} random ones. Make one: "
        "python -c 'import secrets; print(secrets.token_urlsafe(64))'"
    )
if PRODUCTION and any("*" in host for host in ALLOWED_HOSTS):
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS has a '*'; production needs the host names of the site, "
        "separated by commas."
    )
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
ROOT_URLCONF = "chestx_site.urls"
WSGI_APPLICATION = "chestx_site.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"

INSTALLED_APPS = [
    "chestx_site",
    "chestx_site.web.admin_config.ChestXAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "knox",
    "django_htmx",
    "accounts",
    "patients",
    "diagnoses",
]
MIDDLEWARE = [
    "chestx_site.web.middleware.DatabaseDownMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "chestx_site.web.middleware.SecurityHeadersMiddleware",
    "chestx_site.web.malformed.MalformedRequestMiddleware",
    "chestx_site.web.middleware.CompressTextMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "chestx_site.web.bodies.SmallBodyMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.refusals.middleware.RefusalsMiddleware",
    "accounts.middleware.SignInRequiredMiddleware",
    "accounts.middleware.ErrorPagesMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "chestx_site.web.context.site",
            ]
        },
    }
]

# --- Database, sessions, cache -----------------------------------------------
# Sessions and cache are not in Redis, so that pages work while the broker is down.
DATABASES = {
    "default": env.db_url_config(
        env.str("DATABASE_URL", "") or embedded.database_url(VAR_DIR)
    )
}
DATABASES["default"] |= {
    "CONN_MAX_AGE": 60,
    "CONN_HEALTH_CHECKS": True,
    "ATOMIC_REQUESTS": False,
}
# Every query reads few rows by an index: parallel plans and compilation only cost time,
# and a random page costs little more than the next one (memory or a solid-state disk).
DATABASES["default"].setdefault("OPTIONS", {}).setdefault(
    "options",
    "-c max_parallel_workers_per_gather=0 -c jit=off -c random_page_cost=1.1",
)
# The role that owns the tables, for `migrate` only. Every other program uses the role
# of DATABASE_URL, whose rights `chestx_site/database/privileges.py` lists.
_owner_url = env.str("DATABASE_OWNER_URL", "")
if not _owner_url and not env.str("DATABASE_URL", ""):
    _owner_url = embedded.database_owner_url(VAR_DIR)
DATABASE_OWNER = env.db_url_config(_owner_url) if _owner_url else {}
if DATABASE_OWNER and DATABASE_OWNER["NAME"] != DATABASES["default"]["NAME"]:
    raise ImproperlyConfigured(
        "DATABASE_URL and DATABASE_OWNER_URL name different databases."
    )
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = env.int("SESSION_HOURS", 10) * 3600
SESSION_COOKIE_SAMESITE = "Lax"
# Messages name studies and files: they stay on the server, not in a cookie.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- Objects -----------------------------------------------------------------
STORAGES = {
    "default": {
        "BACKEND": "patients.storage.DurableFileSystemStorage",
        "OPTIONS": {
            "location": str(VAR_DIR / "objects"),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    # Production serves the output of `collectstatic`; development serves the sources.
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
MEDIA_ROOT = VAR_DIR / "objects"
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", str(VAR_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = not PRODUCTION
# Served at the root of the site: /favicon.ico.
WHITENOISE_ROOT = BASE_DIR / "static" / "root"

# --- Sign-in -----------------------------------------------------------------
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "worklist"
LOGOUT_REDIRECT_URL = "sign-in"
AUTHENTICATION_BACKENDS = [
    "accounts.sign_in.backends.LockOutBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {
        "NAME": "django.contrib.auth.password_validation"
        ".UserAttributeSimilarityValidator"
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "accounts.sign_in.passwords.OwnNameValidator"},
    {"NAME": "accounts.sign_in.passwords.GuessesValidator"},
]
SIGN_IN_FAILURES = env.int("SIGN_IN_FAILURES", 10)
SIGN_IN_FAILURES_OF_AN_ADDRESS = env.int("SIGN_IN_FAILURES_OF_AN_ADDRESS", 50)
SIGN_IN_COOLOFF_MINUTES = env.int("SIGN_IN_COOLOFF_MINUTES", 15)
# Number of trusted proxies that report the client's address.
TRUSTED_PROXY_COUNT = env.int("PROXY_COUNT", 0)
if TRUSTED_PROXY_COUNT < 0:
    raise ImproperlyConfigured(
        f"PROXY_COUNT is {TRUSTED_PROXY_COUNT}; it must be 0 or the number of proxies."
    )
KNOX_TOKEN_MODEL = "accounts.Token"  # noqa: S105 - the name of a model
# knox's own table would stay empty beside ours and break every flush.
MIGRATION_MODULES = {"knox": None}
REST_KNOX = {
    "TOKEN_TTL": timedelta(hours=env.int("TOKEN_HOURS", 12)),
    "AUTO_REFRESH": False,
}

# --- REST --------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.tokens.ScopedTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.ActionPermission"],
    "DEFAULT_PARSER_CLASSES": [
        "accounts.api.parsers.StrictJSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "chestx_site.web.paging.KnownOrderingFilter",
    ],
    "DEFAULT_PAGINATION_CLASS": "chestx_site.web.paging.CursorPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "chestx_site.web.problems.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "ChestX",
    "DESCRIPTION": "Decision support, not for diagnosis.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
}

# --- Uploads -----------------------------------------------------------------
MAX_FILE_BYTES = env.int("MAX_FILE_MB", 512) * 1024 * 1024
MAX_REQUEST_BYTES = env.int("MAX_REQUEST_MB", 4096) * 1024 * 1024
# Of all forms without files, and of JSON documents. The web server receives so much
# before it starts a thread.
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
DATA_UPLOAD_MAX_NUMBER_FILES = env.int("MAX_FILES_A_REQUEST", 500)
# The upload routes take files by a handler of their own.
FILE_UPLOAD_HANDLERS = ["patients.files.upload_handler.FieldsOnlyHandler"]
# Files during their upload (created by the upload handler), on the file system of the
# objects.
INCOMING_DIR = VAR_DIR / "incoming"
# Quotas of this folder: for the uploads of a user at a time, and in total.
INCOMING_USER_BYTES = env.int("INCOMING_USER_MB", 8192) * 1024 * 1024
INCOMING_BYTES = env.int("INCOMING_MB", 32_768) * 1024 * 1024
FILE_UPLOAD_PERMISSIONS = 0o600
DECODE_TIMEOUT_S = env.float("DECODE_TIMEOUT_S", 20)
# Five times the pixels of the largest picture, for the encoder of JPEG-LS.
DECODE_MEMORY_BYTES = env.int("DECODE_MEMORY_MB", 3072) * 1024 * 1024
HEADER_JSON_LIMIT_BYTES = 1_000_000
DEFAULT_ISSUER = env.str("DEFAULT_ISSUER", "LOCAL")
DEFAULT_DEPARTMENT = env.str("DEFAULT_DEPARTMENT", "radiology")

# --- Models and the queue ----------------------------------------------------
# Without it: the model whose shipped card says that it is the default.
DEFAULT_MODEL = env.str("DEFAULT_MODEL", "") or default_card().name
OTHER_DEFAULT_MODELS = env.list(
    "OTHER_DEFAULT_MODELS", default=["brain-tumour-xception"]
)
# Modality and body part of a picture without a header, unless the model chosen at
# upload reads others.
PICTURE_MODALITY = env.str("PICTURE_MODALITY", "DX")
PICTURE_BODY_PART = env.str("PICTURE_BODY_PART", "CHEST")
INFERENCE_CACHE_DIR = Path(env.str("INFERENCE_CACHE_DIR", str(VAR_DIR / "inference")))
INFERENCE_CONCURRENCY = env.int("INFERENCE_CONCURRENCY", 1)
INFERENCE_NUM_THREADS = env.int("INFERENCE_NUM_THREADS", 0)
# Device, runner and precision of inference. A GPU worker: INFERENCE_DEVICE=gpu,
# INFERENCE_RUNNER=keras with KERAS_BACKEND tensorflow or jax, a batch size, and
# `celery … -Q inference.gpu`; INFERENCE_QUEUES lists all queues that get messages.


def _one_of(name: str, *known: str) -> str:
    """Return a variable that must be one of these words; the first is the default."""
    value: str = env.str(name, known[0])
    if value not in known:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of {known}.")
    return value


INFERENCE_DEVICE = _one_of("INFERENCE_DEVICE", "cpu", "gpu")
# auto: what `choose_runner` found fastest on this machine, else OpenVINO in float32.
INFERENCE_RUNNER = _one_of(
    "INFERENCE_RUNNER", "auto", "openvino", "onnxruntime", "keras"
)
INFERENCE_PRECISION = _one_of(
    "INFERENCE_PRECISION", "auto", "float32", "bfloat16", "int8"
)
INFERENCE_BATCH_SIZE = env.int("INFERENCE_BATCH_SIZE", 1)
# A worker process writes this empty file when it has loaded the default model.
INFERENCE_READY_FILE = env.str("INFERENCE_READY_FILE", "")
INFERENCE_QUEUES = env.list("INFERENCE_QUEUES", default=["inference"])
INFERENCE_LEASE_S = env.float("INFERENCE_LEASE_S", 20)
if not 0 < INFERENCE_LEASE_S <= 60:
    raise ImproperlyConfigured(
        f"INFERENCE_LEASE_S is {INFERENCE_LEASE_S:g}; it must be over 0 and at most 60."
    )
INFERENCE_HARD_LIMIT_S = env.int("INFERENCE_HARD_LIMIT_S", 120)
INFERENCE_MAX_LOST_WORKERS = env.int("INFERENCE_MAX_LOST_WORKERS", 5)
# A waiting image gains one priority step per interval, so that routine images are read
# even under a constant load of stat images.
INFERENCE_AGEING_S = env.float("INFERENCE_AGEING_S", 600)
SWEEP_INTERVAL_S = env.float("SWEEP_INTERVAL_S", 2)
REDIS_URL = env.str("REDIS_URL", "") or embedded.redis_url(VAR_DIR)

# --- Language and time -------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
FORMAT_MODULE_PATH = "chestx_site.formats"
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", "UTC")

# --- Transport and headers ---------------------------------------------------
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_COOKIE_HTTPONLY = False
SESSION_COOKIE_HTTPONLY = True
if PRODUCTION:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", True)
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", 31_536_000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    if TRUSTED_PROXY_COUNT:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Log: one line per event, never a patient's name -------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", "INFO")},
    # pydicom's warnings quote header values, which may be patient names. A level would
    # not last: pydicom sets its own when it is imported.
    "loggers": {"pydicom": {"handlers": ["nowhere"], "propagate": False}},
}
