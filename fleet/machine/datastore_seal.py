"""How a credential lies in the datastore: sealed with a key that only the stack's machines have.

AES-256 in Galois/Counter Mode (NIST SP 800-38D), so that what was changed, moved to another key or written by somebody
without the key does not open. Debian's python3-cryptography does the work; members have it for their database anyway.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fleet.config import ConfigError
from fleet.machine.host import MachineError
from fleet.reading import decode_object

CIPHER: Final = "AES-256-GCM"
VERSION: Final = 1
NONCE_BYTES: Final = 12


def seal(seal_key: str, key: str, text: bytes) -> bytes:
    """The object to lay at `key`."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    document = {
        "version": VERSION,
        "cipher": CIPHER,
        "nonce": base64.b64encode(nonce).decode(),
        "sealed": base64.b64encode(_cipher(seal_key).encrypt(nonce, text, key.encode())).decode(),
    }
    return (json.dumps(document, sort_keys=True) + "\n").encode()


def open_sealed(seal_key: str, key: str, sealed: bytes) -> bytes:
    """What was sealed for `key`. Raises MachineError when it is not to be opened, or not to be believed."""
    try:
        document = decode_object(key, sealed)
        if (document.get("version"), document.get("cipher")) != (VERSION, CIPHER):
            raise MachineError(
                f"{key} is sealed as {document.get('version')!r} {document.get('cipher')!r:.40}; this program "
                f"knows {VERSION} {CIPHER}"
            )
        nonce, text = (base64.b64decode(document[name], validate=True) for name in ("nonce", "sealed"))
        return _cipher(seal_key).decrypt(nonce, text, key.encode())
    except (ConfigError, KeyError, TypeError, binascii.Error, ValueError) as error:
        raise MachineError(f"{key} holds nothing that was sealed: {error!r:.120}") from None
    except InvalidTag:
        raise MachineError(
            f"{key} does not open: it was changed, or sealed with another stack's key; write it again with "
            "`fleet datastore put-db-credential`"
        ) from None


def _cipher(seal_key: str) -> AESGCM:
    return AESGCM(base64.b64decode(seal_key))
