"""An S3 endpoint on loopback, as a process of its own."""

import re
import subprocess
import sys
from contextlib import contextmanager

import httpx

BUCKET = "backups"
ADDRESS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


class S3:
    """`env` is what its clients need in their environment."""

    def __init__(self, url: str, process: subprocess.Popen) -> None:
        self.url = url
        self.process = process
        self.env = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_REGION": "us-east-1",
        }

    def make_bucket(self) -> None:
        """Empty, whatever was there."""
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            client.post("/moto-api/reset").raise_for_status()
            client.put(f"/{BUCKET}").raise_for_status()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running_s3(module="moto.server"):
    argv = [sys.executable, "-W", "ignore", "-m", module, "-p", "0"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = next(found[1] for line in process.stderr if (found := ADDRESS.search(line)))
            yield S3(url, process)
        finally:
            process.kill()
