"""Who must reach nothing: a page of another origin in a person's browser, another local user, idle callers."""

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

# What a page can try by itself: send without asking (no-cors, a form), ask for leave (cors), read, and open a socket.
# A Blob without a type is sent without a Content-Type, which Prefect reads as JSON.
PAGE = """<!doctype html><title>waiting</title><iframe name="sink"></iframe><script>
const at = %s;
async function tried(what) {
    try {
        const answer = await what();
        return answer.type === "opaque" ? "opaque" : [answer.status, await answer.text()];
    } catch (error) { return "refused"; }
}
function heard(url, words) {
    return new Promise((end) => {
        const socket = new WebSocket(url, "prefect"), got = [];
        socket.onopen = () => words.forEach((word) => socket.send(JSON.stringify(word)));
        socket.onmessage = (message) => got.push(message.data);
        socket.onclose = (event) => end({got, code: event.code});
        setTimeout(() => end({got, code: "still open"}), 8000);
    });
}
function submit(url) {
    const form = Object.assign(document.createElement("form"),
        {method: "POST", action: url, target: "sink", enctype: "text/plain"});
    const field = document.createElement("input");
    field.name = at.body.slice(0, -1) + ', "x": "';  // with value and the sign between them it is the body's JSON
    field.value = '"}';
    form.append(field); document.body.append(form); form.submit();
}
(async () => {
    const json = {"content-type": "application/json"}, found = {};
    const post = (url, more) => tried(() => fetch(url, {method: "POST", credentials: "include", ...more}));
    found.prefect_blind = await post(at.create_run, {mode: "no-cors", body: new Blob([at.body])});
    found.prefect_cors = await post(at.create_run, {body: at.body, headers: json});
    submit(at.create_run);
    found.prefect_read = await post(at.prefect + "/api/flow_runs/filter", {body: "{}", headers: json});
    found.prefect_socket = await heard(at.prefect.replace("http", "ws") + "/api/events/out",
        [{type: "auth", token: "a guess"}, {type: "filter", filter: {}}]);
    const deletion = new URLSearchParams({selectedItems: '{"all": true, "excluded": []}'});
    found.tasks_blind = await post(at.delete_tasks, {mode: "no-cors", body: deletion});
    found.tasks_cors = await post(at.delete_tasks, {body: at.selected, headers: json});
    found.tasks_read = await tried(() => fetch(at.label_studio + "/api/projects/", {credentials: "include"}));
    found.relay_blind = await post(at.relay + "/label-studio", {mode: "no-cors", body: at.hint});
    found.relay_cors = await post(at.relay + "/label-studio",
        {body: at.hint, headers: {...json, "x-plankseg-relay": "a guess"}});
    await new Promise((end) => setTimeout(end, 1000));
    window.found = found;
})();
</script>"""

# What another user tries; it runs in the system's own Python, which everyone may use.
ANOTHER_USER = """
import fcntl, json, os, sys, urllib.error, urllib.request
tried = json.load(sys.stdin)
found = {"uid": os.getuid(), "read": [], "locked": [], "answers": {}, "secrets seen": []}
for path in tried["read"]:
    try:
        (os.listdir if os.path.isdir(path) else open)(path)
        found["read"].append(path)
    except PermissionError:
        pass
for path in tried["lock"]:
    try:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
        found["locked"].append(path)
    except PermissionError:
        pass
for name, (url, body, headers) in tried["ask"].items():
    request = urllib.request.Request(url, data=None if body is None else body.encode(), headers=headers)
    try:
        found["answers"][name] = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).status
    except urllib.error.HTTPError as error:
        found["answers"][name] = error.code
for pid in filter(str.isdigit, os.listdir("/proc")):
    for part in ("cmdline", "environ"):
        try:
            text = open(f"/proc/{pid}/{part}", errors="replace").read()
        except OSError:
            continue
        found["secrets seen"] += [f"{part} of {pid}" for word in tried["secrets"] if word in text]
json.dump(found, sys.stdout)
"""
PYTHON = "/usr/bin/python3"


@contextmanager
def drive_by_page(at: Mapping[str, str]) -> Iterator[str]:
    """A page on a port of its own that tries what it can as soon as it is opened; its findings are `window.found`."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (PAGE % json.dumps(dict(at))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def another_user(tried: Mapping[str, Any]) -> dict[str, Any]:
    """What `nobody` reaches of this; a skip where this process cannot become another user."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not os.access(PYTHON, os.X_OK):
        pytest.skip(f"becoming another user needs root, setpriv and {PYTHON}")
    command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", PYTHON, "-I", "-c", ANOTHER_USER]
    done = subprocess.run(
        command, input=json.dumps(tried), capture_output=True, text=True, check=False, timeout=60, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@contextmanager
def idle_callers(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing, or begin a request and never end it."""
    with ExitStack() as stack:
        callers = []
        for number in range(count):
            caller = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            caller.sendall([b"", b"POST /label-studio HT", b"GET /health HTTP/1.1\r\nHost: x\r\n"][number % 3])
            callers.append(caller)
        yield callers


def has_ended(caller: socket.socket) -> bool:
    """Whether the other side closed the connection."""
    caller.settimeout(0.01)
    try:
        return caller.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
