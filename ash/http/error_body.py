import msgspec

JSON = (b"content-type", b"application/json")

# For a fault of the server's own: no stack and no paths.
UNEXPECTED = "Unexpected failure: the server's log says more"


def error_body(status: int, text: str) -> bytes:
    """The body of every error: `{"error": <words a caller can act on>, "statusCode": <int>}`."""
    return msgspec.json.encode({"error": text, "statusCode": status})
