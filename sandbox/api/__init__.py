"""The local cloud's HTTP side: DigitalOcean's API v2, faults on demand and the control API."""
