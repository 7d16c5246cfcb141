"""A dict becomes `#cloud-config` text: the same dict, the same bytes, and never more than a cloud takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import yaml

# AWS takes 16 KiB of user data, DigitalOcean 64; the smaller holds everywhere.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
MAX_USER_DATA_BYTES: Final = 16 * 1024


class PayloadTooLargeError(ValueError):
    """The rendered user data is larger than a cloud takes."""


class Dumper(yaml.SafeDumper):
    """Texts of several lines as literal blocks: a person who debugs a boot reads them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Dumper.add_representer(str, _text)


def cloud_config(document: Mapping[str, object]) -> str:
    """User data of a cloud-config document, keys in the order given."""
    text = "#cloud-config\n" + "".join(_part(key, value) for key, value in document.items())
    size = len(text.encode())
    if size > MAX_USER_DATA_BYTES:
        largest = max(document, key=lambda key: len(yaml.dump(document[key], Dumper=Dumper)))
        raise PayloadTooLargeError(
            f"the user data has {size} bytes and clouds take {MAX_USER_DATA_BYTES}; its largest part is "
            f"`{largest}`. Give fewer or shorter SSH keys and firewall sources; files belong into the image "
            f"(`fleet bake`), not into user data"
        )
    return text


def _part(key: str, value: object) -> str:
    """One key of a document; a list piece by piece, for most pieces are the same for all machines of a tier."""
    if isinstance(value, list) and value:
        return f"{key}:\n" + "".join(_dumped(json.dumps([item])) for item in value)
    return _dumped(json.dumps({key: value}))


@lru_cache(maxsize=256)  # dumping is slow, and a preview of a large fleet is mostly that
def _dumped(piece: str) -> str:
    dumped: str = yaml.dump(
        json.loads(piece),
        Dumper=Dumper,
        sort_keys=False,
        width=1_000_000,
        allow_unicode=True,
        default_flow_style=False,
    )
    return dumped
