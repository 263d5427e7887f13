"""`python -m gateway`: the HTTP gateway in the foreground, from the environment's settings.

The same as `lalafo serve`, where nothing but the gateway's own packages is installed.
"""

import argparse
import gc
import sys
from collections.abc import Sequence

TEACHES = """
what it needs:
  LALAFO_DATABASE_URL      PostgreSQL with the product's tables (postgresql://user@host/database)
  LALAFO_KAFKA_BOOTSTRAP   host:port of the brokers; while they are away, events wait in PostgreSQL
  LALAFO_STORE_URL         where photos are kept: a folder, or s3://bucket/prefix
  LALAFO_GATEWAY_AUTH      keys (make one with `lalafo keys make NAME`), or off: on loopback only

then:
  GET  /                  the page
  GET  /v1/openapi.json   every call, with its examples and its errors
  GET  /healthz           the process lives;  /readyz: its servers answer

It prints its address on standard output, logs on standard error, and stops on SIGTERM or Ctrl-C
after the requests that it has begun (10 s at most). Every setting: docs/api.md.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 after a stop that was asked for, 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="Serve the HTTP API and its page.",
        epilog=TEACHES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", help="the address to listen on (LALAFO_GATEWAY_HOST, 127.0.0.1)")
    parser.add_argument("--port", help="0: any free one (LALAFO_GATEWAY_PORT, 8080)")
    parser.add_argument("--workers", help="processes that serve (LALAFO_GATEWAY_WORKERS, 1)")
    given = {
        f"gateway_{name}": value
        for name, value in vars(parser.parse_args(arguments)).items()
        if value is not None
    }
    gc.disable()  # until the application is made: an eighth of the start went to looking for waste
    try:
        return _serve(given)
    finally:
        gc.enable()


def _serve(given: dict[str, str]) -> int:
    from gateway.server import serve
    from ops.errors import LalafoError
    from resources.settings import changed_settings

    try:
        serve(changed_settings(given), on_progress=lambda url: print(url, flush=True))  # noqa: T201 - the result
    except LalafoError as error:
        print(f"gateway: {error}", file=sys.stderr)  # noqa: T201 - a command's last words
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
