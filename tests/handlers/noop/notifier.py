"""Takes each notification and does nothing: what is left is what an instance costs."""

from wit_world import exports
from wit_world.exports.handler import Description, Notification, Receipt


class Handler(exports.Handler):
    def describe(self) -> Description:
        return Description("noop", "1", "Does nothing.", None, [], [], None, [])

    def configure(self, given: str) -> bool:
        return True

    def send(self, n: Notification) -> Receipt:
        return Receipt(None, None)
