"""Sends metrics, logs and spans with the OpenTelemetry SDK: http|grpc, endpoint, key."""

import logging
import sys

from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

protocol, endpoint, key = sys.argv[1:]
if protocol == "http":
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def options(signal):
        return {"endpoint": f"{endpoint}/v1/{signal}", "headers": {"authorization": f"Bearer {key}"}}

else:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    def options(signal):
        return {"endpoint": endpoint, "insecure": True, "headers": (("authorization", f"Bearer {key}"),)}


resource = Resource.create({"service.name": f"otel-{protocol}", "host.name": "laptop"})

reader = PeriodicExportingMetricReader(OTLPMetricExporter(**options("metrics")), export_interval_millis=3_600_000)
meters = MeterProvider([reader], resource=resource)
meter = meters.get_meter("tests")
counter = meter.create_counter("shop.orders")
for _ in range(7):
    counter.add(1, {"kind": "book"})
meter.create_histogram("shop.latency", unit="ms").record(12.5)

logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**options("logs"))))
logger = logging.getLogger("shop")
logger.addHandler(LoggingHandler(logger_provider=logs))
logger.error("the till is jammed")

traces = TracerProvider(resource=resource)
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**options("traces"))))
with traces.get_tracer("tests").start_as_current_span("checkout"):
    pass

for provider in (meters, logs, traces):
    if provider.force_flush() is False:
        sys.exit(f"{provider} could not export")
    provider.shutdown()
