"""The libraries of Dagster's runs, imported once and inherited by every run that is forked.

Importing this module imports them: 3 to 4 s of processor time that no run has to spend again. It
imports none of the project's own modules, so a run that is forked after their files have changed
reads them as they are now. A library that is missing here is imported by the run itself:
torchvision, for one, which takes 1.5 s and which no session needs that runs its model by OpenVINO.
"""

import contextlib
import gc
from importlib import import_module

LIBRARIES = (
    "dagster._grpc.impl",
    "dagster._core.execution.api",
    "dagster_postgres",
    "psycopg.types.json",
    "psycopg_binary",
    "sqlalchemy.dialects.postgresql",
    "pgvector.psycopg",
    "aiohttp",
    "kafka",
    "confluent_kafka",
    "prometheus_client",
    "psutil",
    "pydantic_settings",
    "rich.traceback",
    "structlog",
    "numpy",
    "PIL.Image",
    "simplejpeg",
    "safetensors.torch",
    "torch",
)

for library in LIBRARIES:
    with contextlib.suppress(ImportError):
        import_module(library)
# The collector then leaves these objects alone: it would write to their memory, and copy it.
gc.freeze()
