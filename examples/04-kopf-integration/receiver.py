"""A webhook to try the operator with: prints each CloudEvent once, however often it comes.

python3 receiver.py [PORT]
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

seen: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    """Answers every POST with 204."""

    def do_POST(self) -> None:
        """Print what is new."""
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if event["id"] not in seen:
            seen.add(event["id"])
            data = event["data"]
            print(
                f"{event['time']}  {event['subject']}: {data['from'] or '-'} -> {data['to']}  {data['reason']}: {data['message']}",
                flush=True,
            )
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing more."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Receiver).serve_forever()
