"""A Google Cloud Storage endpoint on loopback: its XML interface is S3's, which moto speaks.

As a program it is moto's server; who asks is signed in, for tokens are another thing in the two.
"""

import json
import sys
from contextlib import contextmanager

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.support.s3 import running_s3

SIGNED = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, Signature=x"


@contextmanager
def running_gcs(folder):
    """An S3 whose `env` is for Google's clients; what these read is written to the folder."""
    with running_s3("tests.support.gcs") as gcs:
        account = {"gcs_base_url": gcs.url, "disable_oauth": True}
        nobody = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        path = folder / "account.json"
        path.write_text(json.dumps(account | nobody))
        gcs.env = {"GOOGLE_SERVICE_ACCOUNT": str(path)}
        yield gcs


def main():
    moto = DomainDispatcherApplication(create_backend_app)

    def signed_in(environ, start_response):
        return moto({**environ, "HTTP_AUTHORIZATION": SIGNED}, start_response)

    server = make_server("127.0.0.1", 0, signed_in, threaded=True)
    print(f"Running on http://127.0.0.1:{server.port}", file=sys.stderr, flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
