"""A CLI that does what its prompt says: a JSON list of actions, one after the other.

It does not write transcripts: each start is a new conversation.
"""

import hashlib
import json
import os
import sys
import time


def write(line: str | bytes) -> None:
    data = line.encode() if isinstance(line, str) else line
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def read() -> dict:
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def control() -> None:
    """Waits for an answer to what was asked; interrupts do not count."""
    while (message := read())["type"] != "control_response":
        pass
    write(json.dumps({"type": "answer", "to": message["response"]}))


def act(action: str, value) -> None:
    match action:
        case "write":
            write(value if isinstance(value, str) else json.dumps(value))
        case "repeat":
            write(b'{"type":"big","data":"' + b"x" * value + b'"}')
        case "say":
            sys.stderr.write(f"{value}\n")
            sys.stderr.flush()
        case "sleep":
            time.sleep(value)
        case "control":
            control()
        case "hang up":
            os.close(1)
            time.sleep(60)
        case "exit":
            sys.exit(value)


def turn(content) -> None:
    write(json.dumps({"type": "system", "subtype": "init", "pid": os.getpid()}))
    try:
        actions = json.loads(content)
    except ValueError:
        actions = [["write", {"type": "hash", "sha": hashlib.sha256(content.encode()).hexdigest()}]]
    for action, value in actions:
        act(action, value)
    if not any(action == "result" for action, _ in actions):
        write(json.dumps({"type": "result", "result": "ok"}))


def main() -> None:
    if code := os.environ.get("FAKE_EXIT"):
        sys.stderr.write("the fake has nothing to say\n")
        sys.exit(int(code))
    while True:
        message = read()
        if message["type"] == "user":
            turn(message["message"]["content"])
        elif message["request"]["subtype"] == "initialize":
            answer = {"subtype": "success", "request_id": message["request_id"], "response": {}}
            write(json.dumps({"type": "control_response", "response": answer}))


main()
