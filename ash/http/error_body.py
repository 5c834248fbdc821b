import msgspec

JSON = (b"content-type", b"application/json")


def error_body(status: int, text: str) -> bytes:
    """The body of every error: `{"error": <words a caller can act on>, "statusCode": <int>}`."""
    return msgspec.json.encode({"error": text, "statusCode": status})
