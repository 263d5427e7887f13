"""`python -m gateway`: run the HTTP gateway in the foreground, with settings from the environment.

Does the same as `lalafo serve`, and needs only the gateway's own packages.
"""

import argparse
import gc
import sys
from collections.abc import Sequence

EPILOG = """
environment:
  LALAFO_DATABASE_URL      PostgreSQL with the product's tables (postgresql://user@host/database)
  LALAFO_KAFKA_BOOTSTRAP   host:port of the brokers; while none is reachable, events are stored in
                           PostgreSQL
  LALAFO_STORE_URL         the photo store: a folder, or s3://bucket/prefix
  LALAFO_GATEWAY_AUTH      keys (create one with `lalafo keys make NAME`), or off: on loopback only

endpoints:
  GET  /                  the page
  GET  /v1/openapi.json   every endpoint, with examples and errors
  GET  /healthz           liveness: the process responds
  GET  /readyz            readiness: PostgreSQL (and Kafka, if required) respond

The address is printed on standard output, logs go to standard error. SIGTERM or Ctrl-C stops the
gateway after the requests in progress have finished (10 s at most). All settings:
docs/deployment.md.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gateway.

    Returns:
        The exit status: 0 after a requested stop, 1 after an error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="Serve the HTTP API and its page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", help="address to listen on (LALAFO_GATEWAY_HOST, 127.0.0.1)")
    parser.add_argument(
        "--port", help="port to listen on; 0: any free one (LALAFO_GATEWAY_PORT, 8080)"
    )
    parser.add_argument("--workers", help="number of processes (LALAFO_GATEWAY_WORKERS, 1)")
    overrides = {
        f"gateway_{name}": value
        for name, value in vars(parser.parse_args(arguments)).items()
        if value is not None
    }
    gc.disable()  # until the application is created: garbage collection took 1/8 of the start time
    try:
        return _serve(overrides)
    finally:
        gc.enable()


def _serve(overrides: dict[str, str]) -> int:
    from gateway.server import serve
    from ops.errors import LalafoError
    from resources.settings import changed_settings

    try:
        serve(changed_settings(overrides), on_progress=lambda url: print(url, flush=True))  # noqa: T201 - the result
    except LalafoError as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201 - the command's error message
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
