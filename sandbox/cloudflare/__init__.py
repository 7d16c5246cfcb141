"""Cloudflare's API v4 (https://developers.cloudflare.com/api/), as far as a website's zone needs it."""

from __future__ import annotations

from sandbox.cloudflare.app import CloudflareSettings, routes
from sandbox.cloudflare.ranges import IpRanges, ip_ranges, set_ip_ranges
from sandbox.cloudflare.tokens import token_routes

__all__ = ["CloudflareSettings", "IpRanges", "ip_ranges", "routes", "set_ip_ranges", "token_routes"]
