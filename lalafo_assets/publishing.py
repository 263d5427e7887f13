"""`lalafo publish`: lines of events to the topic, keyed as the stream expects them."""

import json
from collections.abc import Iterable

from ops.errors import ConfigurationError
from resources.ad_stream import AdStream
from resources.settings import Settings

FLUSH_S = 30.0


def publish_lines(settings: Settings, lines: Iterable[bytes]) -> int:
    """Publish each line that is not blank; how many the broker acknowledged.

    A line needs `catalog` and `ad_id` for its key; what else is wrong with it is the stream's to
    judge.

    Raises:
        ConfigurationError: a line has no key; those before it are published.
    """
    count = 0
    with AdStream.from_settings(settings) as stream, stream.publisher() as publisher:
        for number, line in enumerate(lines, start=1):
            if line.strip() == b"":
                continue
            publisher.publish(stream.config.ads_topic, key=_key(line, number), value=line.strip())
            count += 1
        publisher.flush(FLUSH_S)
    return count


def _key(line: bytes, number: int) -> bytes:
    try:
        event = json.loads(line)
        return f"{event['catalog']}/{event['ad_id']}".encode()
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"line {number} is no event: it needs to be a JSON object with catalog and ad_id"
        ) from error
