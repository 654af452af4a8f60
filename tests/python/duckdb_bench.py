"""Asks DuckDB the questions of job.json over the same files: prints the medians in milliseconds."""

import json
import pathlib
import statistics
import sys
import time

import duckdb
import pyarrow as pa

folder, runs = pathlib.Path(sys.argv[1]), int(sys.argv[2])
job = json.loads((folder / "job.json").read_text())
db = duckdb.connect()
db.execute("set TimeZone = 'UTC'; set threads = 2")
files = ", ".join(f"'{path}'" for path in job["files"])
db.execute(f"create view samples as select * from read_parquet([{files}], hive_partitioning = true)")

medians = []
for number, query in enumerate(job["queries"]):
    times = []
    table = db.sql(query).to_arrow_table()
    for _ in range(runs):
        started = time.perf_counter()
        table = db.sql(query).to_arrow_table()
        times.append((time.perf_counter() - started) * 1e3)
    medians.append(statistics.median(times))
    with pa.OSFile(str(folder / f"{number}.arrow"), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
print(json.dumps(medians))
