"""A Feature Service that builds datasets as the platform's does: silent meanwhile, failing unannounced."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from uuid import uuid4

import uvicorn


class FeatureService:
    """What it holds and how it behaves; tests change both."""

    def __init__(self):
        self.splits = {}
        self.status = "ready"
        self.error_message = None
        self.records = {}
        self.build_answer = 202
        self.builds = []
        self.known = set()
        self.asked = []
        self.awake = asyncio.Event()
        self.awake.set()
        self.delivers = asyncio.Event()
        self.delivers.set()
        self.port = None

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        path = scope["path"]
        self.asked.append(path)
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        await self.awake.wait()
        status, answer = await self._answer(scope, path, body)
        kind = b"application/octet-stream" if isinstance(answer, bytes) else b"application/json"
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope, path, body):
        if path == "/features/latest":
            symbol = scope["query_string"].decode().partition("=")[2]
            vector = {"timestamp": "2026-01-01T00:00:00Z", "symbol": symbol, "features": {}}
            return 200, {**vector, "feature_registry_version": "candles-1"}
        if path == "/dataset/build":
            if self.build_answer != 202:
                return self.build_answer, {"detail": "Internal server error"}
            dataset_id = str(uuid4())
            self.builds.append(json.loads(body))
            self.known.add(dataset_id)
            return 202, {"dataset_id": dataset_id, "status": "building", "estimated_completion": None}
        if path.endswith("/download"):
            await self.delivers.wait()
            split = scope["query_string"].decode().partition("=")[2]
            content = self.splits.get(split)
            return (404, {"detail": f"Split file not found: {split}"}) if content is None else (200, content)
        if path.rpartition("/")[2] not in self.known:
            return 404, {"detail": "Dataset not found"}
        return 200, {
            "status": self.status,
            "error_message": self.error_message,
            "target_config": {},
            **self.records,
        }


@asynccontextmanager
async def serving():
    """The service on a port of its own."""
    service = FeatureService()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        service.port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(service, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        yield service
        service.awake.set()
        service.delivers.set()
        server.should_exit = True
        await task
