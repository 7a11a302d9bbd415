-- The W3C trace context that a notification came with. Producers may set it; what is no trace is not handed on.

ALTER TABLE notifications ADD COLUMN traceparent text;
ALTER TABLE notifications ADD COLUMN tracestate text;
