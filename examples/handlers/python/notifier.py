"""Posts each notification as a message to a chat room."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import Description, Notification, Receipt
from wit_world.imports import host, http

from postrider import failure_of, verdict

NAME, VERSION = "chatline", "0.1.0"
KEYS = {"url": str, "channel": str, "token": str}
SCHEMA = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "properties": {key: {"type": "string"} for key in KEYS},
}

# Of this instance: each call gets a Handler of its own.
config: dict[str, str] = {}


class Handler(exports.Handler):
    def describe(self) -> Description:
        return Description(
            name=NAME,
            version=VERSION,
            summary="Posts each notification as a message to a chat room.",
            config_schema=json.dumps(SCHEMA),
            origins=["https://chat.example.com"],
            secrets=["token"],
            max_content=16_384,
            attributes=[],
        )

    def configure(self, given: str) -> bool:
        config.clear()
        config.update(json.loads(given))
        for key, value in config.items():
            if key not in KEYS:
                raise Err(f"config.{key}: unknown key; expected {', '.join(KEYS)}")
            if not isinstance(value, KEYS[key]):
                raise Err(f"config.{key}: expected a string, got {json.dumps(value)}")
        if not config.get("url"):
            raise Err("config.url: missing; expected the URL of the chat's webhook")
        return True

    def send(self, n: Notification) -> Receipt:
        host.log(host.Level.INFO, f"posting {n.id}, attempt {n.attempt}")
        message = {"text": text(n)}
        if channel := config.get("channel"):
            message["channel"] = channel
        headers = [("content-type", "application/json"), ("idempotency-key", n.id)]
        if token := config.get("token"):
            headers.append(("authorization", f"Bearer {token}"))
        body = json.dumps(message).encode()
        try:
            response = http.send(http.Request("POST", config["url"], headers, body))
        except Err as error:
            raise failure_of(error.value)
        return verdict(response)


def text(n: Notification) -> str:
    """One message, such as `[critical] alert.firing db1: disk 91 % full`."""
    severity = dict(n.labels).get("severity")
    try:
        content = n.content.decode()
    except UnicodeDecodeError:
        content = f"{len(n.content)} bytes of {n.content_type}"
    return "".join(
        [
            f"[{severity}] " if severity else "",
            n.kind,
            f" {n.subject}" if n.subject else "",
            f": {content}" if content else "",
            f" (part {n.part.index + 1} of {n.part.count})" if n.part else "",
        ]
    )
