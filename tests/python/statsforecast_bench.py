"""Seconds that statsforecast's MSTL with AutoETS takes for the series of a file, on all cores.

Lines of `id,v1,v2,...` after a header; 48 steps with intervals of 80 and 95 %. Compiling its
functions is not counted: one series is forecast before the clock starts.
"""

import os
import sys
import time

os.environ["NIXTLA_ID_AS_COL"] = "1"

import pandas
from statsforecast import StatsForecast
from statsforecast.models import AutoETS, MSTL

frames = []
with open(sys.argv[1]) as file:
    next(file)
    for line in file:
        name, *cells = line.strip().split(",")
        values = [float(cell.strip('"')) for cell in cells if cell.strip()]
        frames.append(pandas.DataFrame({"unique_id": name, "ds": range(len(values)), "y": values}))


def forecast(frame, cores):
    model = MSTL(season_length=[24, 168], trend_forecaster=AutoETS(model="ZZN"))
    return StatsForecast(models=[model], freq=1, n_jobs=cores).forecast(
        df=frame, h=48, level=[80, 95]
    )


forecast(frames[0], 1)
started = time.perf_counter()
forecast(pandas.concat(frames), os.cpu_count())
print(time.perf_counter() - started)
