"""Verifies a v1a signature with pyca's Ed25519: public key, id, timestamp, signatures, body.

The published Standard Webhooks libraries know only v1; this follows the specification instead.
"""

import base64
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

public, identifier, timestamp, signatures, body = sys.argv[1:]
key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))


def fits(content: str) -> bool:
    """Whether any of the signatures is this key's."""
    signed = f"{identifier}.{timestamp}.{content}".encode()
    for version, signature in (each.split(",", 1) for each in signatures.split(" ")):
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(signature), signed)
        except InvalidSignature:
            continue
        return True
    return False


if not fits(body):
    sys.exit("no signature is this key's")
if fits(body + " "):
    sys.exit("a changed body was accepted")
print("verified")
