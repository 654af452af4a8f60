"""Writes lines with the Influx client: url, key."""

import sys
import time

from influxdb_client import InfluxDBClient, Point
from influxdb_client.client.write_api import SYNCHRONOUS

url, key = sys.argv[1:]
with InfluxDBClient(url=url, token=key, org="tests", enable_gzip=True) as client:
    points = [Point("influx").tag("host", "a").field("load", float(n)) for n in range(5)]
    now = time.time_ns()
    lines = [point.time(now - n * 1_000_000) for n, point in enumerate(points)]
    client.write_api(write_options=SYNCHRONOUS).write(bucket="tests", record=lines)
