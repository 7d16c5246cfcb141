"""A dict becomes `#cloud-config` text: the same dict, the same bytes, and never more than a cloud takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import yaml

# AWS takes 16 KiB of user data, DigitalOcean 64; the smaller holds everywhere.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
MAX_USER_DATA_BYTES: Final = 16 * 1024


class PayloadTooLargeError(ValueError):
    """The rendered user data is larger than a cloud takes."""


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as literal blocks: a person who debugs a boot reads them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def cloud_config(document: Mapping[str, object]) -> str:
    """User data of a cloud-config document, keys in the order given."""
    body = yaml.dump(
        dict(document),
        Dumper=_Dumper,
        sort_keys=False,
        width=1_000_000,
        allow_unicode=True,
        default_flow_style=False,
    )
    text = f"#cloud-config\n{body}"
    size = len(text.encode())
    if size > MAX_USER_DATA_BYTES:
        largest = max(document, key=lambda key: len(yaml.dump(document[key], Dumper=_Dumper)))
        raise PayloadTooLargeError(
            f"the user data has {size} bytes and clouds take {MAX_USER_DATA_BYTES}; its largest part is "
            f"`{largest}`. Give fewer or shorter SSH keys and firewall sources; files belong into the image "
            f"(`fleet bake`), not into user data"
        )
    return text
