"""DigitalOcean's API v2, resource by resource; https://docs.digitalocean.com/reference/api/."""
