"""An S3-compatible server for the tests: `s3_server.py PORT`.

One request at a time: moto looks whether an object exists and then writes it, so with threads two
writers could both win `If-None-Match: *`, which S3 rules out.
"""

import sys

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
