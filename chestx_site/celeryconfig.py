"""All policy of the queue in one place, read by Celery at first use.

What makes a task safe is its row in the database (claim, lease, attempt); everything
here is comfort. docs/architecture.md has the whole way of an image.
"""

from django.conf import settings

broker_url = settings.REDIS_URL
# Nobody waits for a task's return value: results are rows.
result_backend = None
task_ignore_result = True

# JSON only: a message may never run code.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

task_default_queue = "inference"
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1

# One limit; the others follow. A message comes back only when its task is surely dead.
task_time_limit = settings.INFERENCE_HARD_LIMIT_S
task_soft_time_limit = 0.9 * task_time_limit
_visibility_timeout_s = 1.1 * task_time_limit

# With Redis dead a publisher gives up in a hundredth of a second, with Redis frozen
# in seconds; the defaults take six seconds a call, or for ever.
broker_transport_options = {
    "visibility_timeout": _visibility_timeout_s,
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
# The worker itself waits for its broker as long as it takes.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Without it a worker that lost Redis with a task in flight never consumes again.
worker_enable_remote_control = True
# A replacement child loads its model first; by default it would be killed after 4 s.
# The first time it also makes the model's graph: 45 s were seen on a busy machine.
worker_proc_alive_timeout = 180
# A task whose hint is lost meanwhile finishes: its row decides what that is worth.
worker_cancel_long_running_tasks_on_connection_loss = False
# Django's LOGGING says what is logged.
worker_hijack_root_logger = False
worker_send_task_events = False
