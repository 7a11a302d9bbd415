-- The W3C trace context that a notification came with. Producers may set it; what is no trace is not handed on.

ALTER TABLE notifications ADD COLUMN traceparent TEXT;
ALTER TABLE notifications ADD COLUMN tracestate TEXT;
