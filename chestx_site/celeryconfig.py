"""All settings of the task queue, read by Celery on first use.

The row in the database (claim, lease, attempt) makes a task safe, not the queue.
docs/architecture.md describes the way of an image.
"""

from django.conf import settings

broker_url = settings.REDIS_URL
# Results are rows; nothing waits for a task's return value.
result_backend = None
task_ignore_result = True

# JSON only: messages must never run code.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

task_default_queue = "inference"
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1

# All limits derive from one. A message returns only after its task is surely dead.
task_time_limit = settings.INFERENCE_HARD_LIMIT_S
task_soft_time_limit = 0.9 * task_time_limit
_visibility_timeout_s = 1.1 * task_time_limit

# A publisher gives up within 10 ms if Redis is down and within seconds if it hangs.
# With the defaults a call takes six seconds or never returns.
broker_transport_options = {
    "visibility_timeout": _visibility_timeout_s,
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.2,
}
# The worker waits for its broker without a limit.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Without it, a worker that loses Redis during a task never takes tasks again.
worker_enable_remote_control = True
# A new pool child loads its model first; the default would kill it after 4 s. The first
# start also exports the model's graph, which took 45 s on a busy machine.
worker_proc_alive_timeout = 180
# A task that loses its connection still finishes: its row decides about the result.
worker_cancel_long_running_tasks_on_connection_loss = False
# Django's LOGGING applies.
worker_hijack_root_logger = False
worker_send_task_events = False
