"""The contract of the topics as an AsyncAPI 3 document: `docs/asyncapi.yaml`.

Every schema, header and setting comes from the code that reads or writes the records; this module
owns only the document's form. `lalafo topics --asyncapi` prints it.
"""

from typing import Any

from ops.events.json_bytes import MAX_DEPTH, MAX_NUMBER_CHARS
from ops.events.parse import SCHEMA, EventLimits
from ops.events.schemas import event_schema, feedback_schema, scored_schema
from resources.kafka.connection import StreamConfig
from resources.kafka.dead_letter_replay import REPLAY_HEADER
from resources.kafka.dead_letters import LEFT_OUT_HEADERS, ORIGINAL_PREFIX, OWN_HEADERS
from resources.kafka.topic_settings import DEFAULT_PARTITIONS, TopicSettings, wanted_topics

DESCRIPTION = (
    "The topics of Lalafo Vision. Marketplaces write ads to `ads`, or post them to the gateway, "
    "which writes them there; results are read from `ads.scored`. Names follow LALAFO_ADS_TOPIC "
    "and LALAFO_DLQ_TOPIC; limits are those of LALAFO_MAX_PHOTOS_PER_AD, LALAFO_MAX_TITLE_CHARS "
    "and LALAFO_MAX_DESCRIPTION_CHARS. Records are JSON in UTF-8: no name occurs twice in an "
    f"object, NaN and Infinity are no numbers, at most {MAX_DEPTH} levels, and {MAX_NUMBER_CHARS} "
    "characters for a number. Delivery is at least once: take the highest revision of each key."
)
_KEY = {
    "type": "string",
    "description": "catalog/ad_id in UTF-8; it keeps an ad's records in order. An event of `ads` "
    "may have no key, but no other one.",
}


def document(config: StreamConfig, limits: EventLimits) -> dict[str, Any]:
    """Return the AsyncAPI document of the four topics."""
    ads, feedback, scored, dlq = wanted_topics(config, DEFAULT_PARTITIONS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lalafo Vision: topics",
            "version": f"{SCHEMA}.0.0",
            "description": DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "channels": {
            "ads": _channel(ads, "adEvent"),
            "feedback": _channel(feedback, "label"),
            "scored": _channel(scored, "result"),
            "deadLetters": _channel(dlq, "deadLetter"),
        },
        "operations": {
            "readAds": _operation("receive", "ads", "Sessions read ads and score their photos."),
            "writeAds": _operation("send", "ads", "The gateway writes the ads that it accepts."),
            "writeFeedback": _operation("send", "feedback", "The gateway writes labels."),
            "writeResults": _operation("send", "scored", "Sessions write what they committed."),
            "writeDeadLetters": _operation(
                "send", "deadLetters", "Sessions write records that are no events."
            ),
        },
        "components": {
            "messages": {
                "adEvent": _message(
                    "An ad that was created, changed or deleted",
                    event_schema(limits),
                    headers={REPLAY_HEADER: "Of a replay: the dead letter that is sent again."},
                ),
                "label": _message("A person's label of an ad", feedback_schema()),
                "result": _message(
                    "A result, a release that is live now, or a photo that two sellers have. A "
                    "release_promoted has no key.",
                    scored_schema(),
                ),
                "deadLetter": _dead_letter(),
            }
        },
    }


def _channel(topic: TopicSettings, message: str) -> dict[str, Any]:
    configs = topic.configs
    return {
        "address": topic.name,
        "description": topic.holds,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [configs["cleanup.policy"]],
                    "retention.ms": int(configs["retention.ms"]),
                    "max.message.bytes": int(configs["max.message.bytes"]),
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _message(
    title: str, payload: dict[str, Any], headers: dict[str, str] | None = None
) -> dict[str, Any]:
    described = {} if headers is None else {"headers": _headers(headers)}
    return {
        "title": title,
        "contentType": "application/json",
        **described,
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": payload,
        },
        "bindings": {"kafka": {"key": _KEY, "bindingVersion": "0.5.0"}},
    }


def _dead_letter() -> dict[str, Any]:
    headers = _headers({**OWN_HEADERS, **LEFT_OUT_HEADERS}, required=list(OWN_HEADERS))
    original = {
        "description": "A header of the original record, byte for byte; an empty one may have been "
        "null."
    }
    return {
        "title": "A record that is no event",
        "contentType": "application/octet-stream",
        "headers": {
            **headers,
            "patternProperties": {f"^{ORIGINAL_PREFIX.rstrip('.')}\\.": original},
        },
        "payload": {"description": "The bytes of the original record, whatever they are."},
        "bindings": {
            "kafka": {
                "key": {"description": "The key of the original record, or none."},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _headers(texts: dict[str, str], required: list[str] | None = None) -> dict[str, Any]:
    described = {name: {"type": "string", "description": about} for name, about in texts.items()}
    must = {} if required is None else {"required": required}
    return {"type": "object", **must, "properties": described}


def as_yaml(contract: dict[str, Any]) -> str:
    """The document as YAML, with a heading that says where it comes from."""
    import yaml  # type: ignore[import-untyped]

    heading = "# From the code, by `lalafo topics --asyncapi`; a test compares the two.\n"
    text: str = yaml.safe_dump(_plain(contract), sort_keys=False, allow_unicode=True, width=100)
    return heading + text


def _plain(value: Any) -> Any:
    """The same value without shared parts, which YAML would write as references."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
