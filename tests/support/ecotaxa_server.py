"""A little EcoTaxa on this machine: the routes that we use, as `openapi.json` of ecotaxa_back 0.0.45 describes them.

It answers with people's names and addresses where the real one does, so that a test can look for them. `faults` are
given one by one to the requests whose path they match: a status with headers, or an answer that is cut off.
"""

import csv
import io
import json
import re
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.archive_packing import jpeg

TOKEN = "eyJ1c2VyX2lkIjo5OTN9.YUmHHw.secret"
PERSON, ADDRESS = "Ada Lovelace", "ada@example.org"
PREDEFINED = ("object_id", "object_annotation_category", "object_annotation_status")
Answer = tuple[int, Any]


@dataclass
class Fault:
    """What goes wrong with the next request whose path matches: a status, or an answer cut after so many bytes."""

    path: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    body: bytes | None = None


@dataclass
class ServedObject:
    """An object of the project, with its image in the vault."""

    number: int
    fields: dict[str, Any]
    image: bytes


class EcoTaxaServer:
    """Project 42 with a few objects, on the loopback."""

    def __init__(self, objects: int = 7) -> None:
        self.objects = [_object(number) for number in range(objects)]
        self.free = {"area": "n01", "major": "n02", "comment": "t01"}
        self.files: dict[str, bytes] = {}
        self.imports: list[dict[str, Any]] = []
        self.jobs: list[dict[str, Any]] = []
        self.job_faults: list[dict[str, Any]] = []
        self.unpacks = True
        self.taxa = {"Calanoida<Copepoda", "Salpida"}
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault_of(self, path: str) -> Fault | None:
        """The next fault that is meant for a path, which is then used up."""
        found = next((fault for fault in self.faults if re.search(fault.path, path)), None)
        if found is not None:
            self.faults.remove(found)
        return found

    def images_asked(self) -> list[str]:
        """The images that were asked for, in order."""
        return [path for path in self.asked if path.startswith("/vault/")]

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, content_type: str) -> Answer:
        """Status and JSON of a request."""
        route = f"{method} {path}"
        if route == "GET /api/projects/42":
            managers = [{"id": 1, "name": PERSON, "email": ADDRESS}]
            return 200, {"projid": 42, "title": "Villefranche", "obj_free_cols": self.free, "managers": managers}
        if route == "GET /api/samples/search":
            assert (query["project_ids"], query["id_pattern"]) == ("42", "*")
            free = {"operator": PERSON, "email": ADDRESS}
            return 200, [{"sampleid": 7, "projid": 42, "orig_id": "wp2_2011", "free_columns": free}]
        if route == "GET /api/acquisitions/search":
            row = {"acquisid": 70, "acq_sample_id": 7, "orig_id": "wp2_2011_d1", "instrument": "zooscan"}
            return 200, [row | {"free_columns": {"operator": PERSON}}]
        if route == "POST /api/object_set/42/query":
            return 200, self._window(query)
        if route == "POST /api/user_files/":
            form = multipart(content_type, body)
            self.files[form["path"].decode()] = form["file"]
            return 200, f"/data/ecotaxa_user.1/{form['path'].decode()}"
        if route == "GET /api/user_files/plankseg":
            return 200, {"path": "plankseg", "entries": [self._entry(name) for name in self.files]}
        if route == "POST /api/file_import/42":
            return 200, {"job_id": self._start(json.loads(body)), "errors": []}
        if route == "GET /api/jobs/":
            return 200, self.jobs
        if found := re.fullmatch(r"GET /api/jobs/(\d+)/", route):
            return 200, self._progress(int(found[1]))
        return 404, {"detail": "Not found."}

    def _window(self, query: dict[str, str]) -> dict[str, Any]:
        assert query["order_field"] == "obj.objid"
        start, size = int(query["window_start"]), int(query["window_size"])
        some = sorted(self.objects, key=lambda served: served.number)[start : start + size]
        fields = query["fields"].split(",") if "fields" in query else []
        # A field that the project does not have is left out without a word, as by the real server.
        known = [name for name in fields if not name.startswith("fre.") or name[4:] in self.free]
        return {
            "object_ids": [served.number for served in some],
            "acquisition_ids": [70 for _ in some],
            "sample_ids": [7 for _ in some],
            "project_ids": [42 for _ in some],
            "details": [[served.fields.get(name) for name in known] for served in some],
            "total_ids": len(self.objects),
        }

    def _entry(self, name: str) -> dict[str, Any]:
        file = name.removeprefix("plankseg/")
        return {"name": file.removesuffix(".zip") if self.unpacks else file, "type": "D" if self.unpacks else "F"}

    def _start(self, request: dict[str, Any]) -> int:
        """Begin an import; it is done when its job was asked for twice."""
        self.imports.append(request)
        params = {"prj_id": 42, "req": request}
        self.jobs.append({"id": len(self.jobs), "state": "P", "progress_pct": 0, "params": params, "errors": []})
        return len(self.jobs) - 1

    def _progress(self, number: int) -> dict[str, Any]:
        job = self.jobs[number]
        if job["state"] == "R":
            job |= self.job_faults.pop(0) if self.job_faults else self._done(job["params"]["req"])
        elif job["state"] == "P":
            job |= {"state": "R", "progress_pct": 50}
        return job

    def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        """Import as EcoTaxa does: an update creates no object, else an object that is there is left alone."""
        assert (request["update_mode"] in ("Yes", ""), request["skip_existing_objects"]) == (True, True)
        path = request["source_path"].removeprefix("/data/ecotaxa_user.1/")
        name = f"{path}.zip" if self.unpacks else path
        if name not in self.files:
            return {"state": "E", "errors": [f"FileNotFoundError {path}"]}
        with zipfile.ZipFile(io.BytesIO(self.files[name])) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        (table,) = [name for name in files if re.fullmatch(r"ecotaxa.*\.tsv", name)]
        reader = csv.DictReader(io.StringIO(files[table].decode("utf-8-sig"), newline=""), delimiter="\t")
        types = next(reader)
        rows = list(reader)
        if missing := {row.get("object_annotation_category") for row in rows} - {None, "", *self.taxa}:
            return {"state": "A", "question": {"missing_users": [], "missing_taxa": sorted(map(str, missing))}}
        columns = {name: name[7:] for name in types if name.startswith("object_") and name not in PREDEFINED}
        for name, column in columns.items():
            self.free.setdefault(column, f"{'n' if types[name] == '[f]' else 't'}{len(self.free) + 1:02d}")
        for row in rows:
            served = next((found for found in self.objects if found.fields["obj.orig_id"] == row["object_id"]), None)
            if served is not None and request["update_mode"] == "":
                continue
            if served is None and request["update_mode"] == "":
                served = _object(len(self.objects), files[row["img_file_name"]])
                served.fields = {name: served.fields[name] for name in ("img.file_name", "img.imgrank")}
                served.fields |= {
                    "obj.orig_id": row["object_id"],
                    "txo.display_name": row["object_annotation_category"],
                }
                self.objects.append(served)
            if served is not None:
                for name, column in columns.items():
                    value: Any = float(row[name]) if types[name] == "[f]" and row[name] else row[name] or None
                    served.fields[f"fre.{column}"] = value
        return {"state": "F", "progress_pct": 100}

    def image(self, path: str) -> bytes | None:
        """The bytes of an image of the vault."""
        images = {f"/vault/{served.fields['img.file_name']}": served.image for served in self.objects}
        return images.get(path)


class _Handler(BaseHTTPRequestHandler):
    server_of: EcoTaxaServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.server_of.asked.append(parts.path)
        self.server_of.tokens.append(self.headers.get("Authorization"))
        fault = self.server_of.fault_of(parts.path) or Fault("")
        if fault.status != 200:
            self._send(fault.status, fault.body or b'{"detail": "fault"}', "application/json", fault)
        elif parts.path.startswith("/vault/"):
            image = self.server_of.image(parts.path)
            self._send(404 if image is None else 200, fault.body or image or b"", "image/jpeg", fault)
        elif self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
            self._send(401, b'{"detail": "Could not validate credentials"}', "application/json", fault)
        else:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, found = self.server_of.answer(
                method, parts.path, query, body, self.headers.get("Content-Type") or ""
            )
            self._send(status, fault.body or json.dumps(found).encode(), "application/json", fault)

    def _send(self, status: int, data: bytes, kind: str, fault: Fault) -> None:
        self.send_response(status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if fault.cut is None else data[: fault.cut])
        self.close_connection = fault.cut is not None


def multipart(content_type: str, body: bytes) -> dict[str, bytes]:
    """The parts of a form by their names."""
    boundary = b"--" + content_type.partition("boundary=")[2].strip('"').encode()
    parts: dict[str, bytes] = {}
    for part in (b"\r\n" + body).split(b"\r\n" + boundary)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        parts[re.findall(rb'name="([^"]*)"', head)[0].decode()] = data
    return parts


def _object(number: int, image: bytes | None = None) -> ServedObject:
    fields = {
        "obj.orig_id": f"wp2_2011_{number}",
        "txo.display_name": "Calanoida<Copepoda",
        "obj.classif_qual": "VPDX"[number % 4],
        "obj.latitude": 43.685,
        "obj.longitude": 7.3157,
        "obj.objdate": "2011-01-09",
        "obj.objtime": "12:29:00",
        "obj.depth_min": 0.0,
        "obj.depth_max": 75.0,
        "img.file_name": f"0123/{number:04d}.jpg",
        "img.imgrank": 0,
        "fre.area": 1200.5 + number,
        "fre.major": None if number == 1 else 60.25,
        "fre.comment": f"drawn by {PERSON}",
    }
    return ServedObject(1_000 + number, fields, image or jpeg(number))
