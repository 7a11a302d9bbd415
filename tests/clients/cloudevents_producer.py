"""Sends one event in each mode of the HTTP binding, by the `cloudevents` package: producer.py URL"""

import sys
import urllib.request

from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent


def event(number):
    attributes = {
        "specversion": "1.0",
        "id": str(number),
        "source": "/shop",
        "type": "order.paid",
        "subject": f"Zürich {number}",
        "datacontenttype": "application/json",
        "shard": "3",
    }
    return CloudEvent(attributes, {"order": number})


def post(message_headers, body):
    request = urllib.request.Request(sys.argv[1], body, message_headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        print(answer.status)


for message in (http.to_binary_event(event(1)), http.to_structured_event(event(2))):
    post(message.headers, message.body)
batch = b"[" + b",".join(http.to_structured_event(event(n)).body for n in (2, 3)) + b"]"
post({"Content-Type": "application/cloudevents-batch+json"}, batch)
