"""Refusals in DigitalOcean's format: {id, message, request_id} with the fitting HTTP status."""

from __future__ import annotations

from sandbox.store import Document


class ApiError(Exception):
    """A request the API refuses; `body` replaces the usual error document where the real API has another shape."""

    def __init__(self, status: int, identifier: str, message: str, *, body: Document | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.identifier = identifier
        self.message = message
        self.body = body

    def document(self, request_id: str) -> Document:
        if self.body is not None:
            return self.body
        return {"id": self.identifier, "message": self.message, "request_id": request_id}


def bad_request(message: str) -> ApiError:
    return ApiError(400, "bad_request", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unable to authenticate you")


def forbidden(message: str) -> ApiError:
    return ApiError(403, "forbidden", message)


def not_found(message: str = "The resource you requested could not be found.") -> ApiError:
    return ApiError(404, "not_found", message)


def conflict(message: str) -> ApiError:
    return ApiError(409, "conflict", message)


def precondition_failed(message: str) -> ApiError:
    return ApiError(412, "precondition_failed", message)


def unprocessable(message: str) -> ApiError:
    return ApiError(422, "unprocessable_entity", message)


def insufficient_storage(message: str) -> ApiError:
    """The host's disk is full: no trouble that the real API has, hence a status that it does not use."""
    return ApiError(507, "insufficient_storage", message)


def pending_event() -> ApiError:
    return unprocessable("Droplet already has a pending event.")
