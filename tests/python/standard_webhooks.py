"""Verifies a signature with the published library: secret, id, timestamp, signature, body."""

import sys

from standardwebhooks import Webhook

secret, identifier, timestamp, signature, body = sys.argv[1:]
headers = {
    "webhook-id": identifier,
    "webhook-timestamp": timestamp,
    "webhook-signature": signature,
}
Webhook(secret).verify(body, headers)

try:
    Webhook(secret).verify(body + " ", headers)
except Exception:
    print("verified")
else:
    sys.exit("a changed body was accepted")
