"""Reads samples with deltalake, DuckDB and Polars while they are written.

Every sample has the value 1, so at each version all three must find as many rows as their sum, the same
number as each other, and never fewer than before. Ends when all expected rows are in the lake.
"""

import sys
import time

import duckdb
import polars as pl
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

folder, metric, expected, within = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])


def with_deltalake(table):
    rows = table.to_pyarrow_table(columns=["value"], filters=[("metric", "=", metric)])
    return rows.num_rows, pc.sum(rows["value"]).as_py() or 0.0


def with_duckdb(table):
    query = "select count(*), coalesce(sum(value), 0) from read_parquet($files) where metric = $metric"
    return duckdb.execute(query, {"files": table.file_uris(), "metric": metric}).fetchone()


def with_polars(table):
    rows = pl.scan_delta(table).filter(pl.col("metric") == metric).select(pl.len(), pl.col("value").sum())
    return rows.collect().row(0)


deadline = time.monotonic() + within
versions, before = set(), 0
while before < expected:
    if time.monotonic() > deadline:
        sys.exit(f"{before} of {expected} rows are in the lake after {within} s")
    try:
        table = DeltaTable(folder)
    except TableNotFoundError:
        time.sleep(0.1)
        continue
    if table.version() in versions or not table.file_uris():
        time.sleep(0.05)
        continue
    versions.add(table.version())
    found = {read.__name__: tuple(read(table)) for read in (with_deltalake, with_duckdb, with_polars)}
    counts = {count for count, _ in found.values()}
    if len(counts) != 1 or any(count != total for count, total in found.values()):
        sys.exit(f"version {table.version()}: the readers disagree: {found}")
    (count,) = counts
    if count < before:
        sys.exit(f"version {table.version()}: {count} rows, and {before} before")
    before = count
if before != expected:
    sys.exit(f"{before} rows in the lake, {expected} were written")
print(len(versions))
