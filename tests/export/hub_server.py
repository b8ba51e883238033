"""A server that implements the requests of the package huggingface_hub to the Hugging Face Hub."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Repository:
    """What a repository on the server is."""

    def __init__(self, visibility):
        self.visibility, self.files, self.commits = visibility, {}, []

    @property
    def sha(self):
        return hashlib.sha1(repr((self.commits, sorted(self.files))).encode()).hexdigest()


class HubServer(ThreadingHTTPServer):
    """Repositories in memory.

    Attributes:
        repositories: <owner>/<name> -> Repository.
        requests: (method, path, Authorization header) of each request, without those to the large file storage.
        refuses: code with which every request is answered; 0: none is refused.

    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.objects, self.requests, self.refuses = {}, {}, [], 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def answer(self, code, value=None, headers=(), with_body=True):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in dict(headers).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def handle_any(self):
        server, path = self.server, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith("/objects/"):
            server.objects[path.rpartition("/")[2]] = body
            return self.answer(200, {})
        server.requests.append((self.command, path, self.headers.get("Authorization")))
        if server.refuses:
            return self.answer(server.refuses, {"error": "refused"})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        name = re.match(r"/(?:api/models/)?([\w.\-]+/[\w\-]+)", path)[1]
        repository = server.repositories.get(name)
        if repository is None:
            return self.answer(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
        return self.of_repository(name, repository, path, body)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any  # noqa: N815

    def create(self, wanted):
        name = f"{wanted['organization']}/{wanted['name']}"
        found = name in self.server.repositories
        self.server.repositories.setdefault(name, Repository(wanted.get("visibility", "public")))
        self.answer(409 if found else 200, {"url": f"{self.server.url}/{name}"})

    def of_repository(self, name, repository, path, body):
        if "/preupload/" in path:
            binary = (".safetensors", ".mp4")
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(binary) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        if path.endswith("/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.server.url}/objects/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return self.answer(200, {"transfer": "basic", "objects": objects})
        if "/commit/" in path:
            self.commit(repository, [json.loads(line) for line in body.splitlines()])
            url = f"{self.server.url}/{name}/commit/{repository.sha}"
            return self.answer(200, {"commitUrl": url, "commitOid": repository.sha})
        if "/tree/" in path:
            files = [
                {"type": "file", "path": k, "size": len(v), "oid": hashlib.sha1(v).hexdigest()}
                for k, v in repository.files.items()
            ]
            return self.answer(200, files)
        if "/resolve/" in path:
            return self.give(repository, re.sub(r".*/resolve/[^/]+/", "", path))
        siblings = [{"rfilename": file} for file in repository.files]
        return self.answer(200, {"id": name, "sha": repository.sha, "siblings": siblings})

    def commit(self, repository, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.server.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                repository.files[value["path"]] = content
            else:
                del repository.files[value["path"]]

    def give(self, repository, file):
        content = repository.files[file]
        headers = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": repository.sha,
        }
        self.answer(200, content, headers, with_body=self.command != "HEAD")
