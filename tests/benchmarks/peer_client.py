"""Asks MLServer for one row at a time, over HTTP and gRPC; runs in the peers' own environment.

`python peer_client.py HTTP_PORT GRPC_PORT FEATURES REQUESTS` prints seconds: `{"rest": [], "grpc": []}`.
"""

import http.client
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

MODEL = "model"
WARM = 20
"""Requests before any counts."""


def main(http_port: int, grpc_port: int, features: int, requests: int) -> None:
    """Prints how long each request took."""
    row = [0.1] * features
    found = {"rest": timed(rest(http_port, row), requests), "grpc": timed(grpc(grpc_port, row), requests)}
    sys.stdout.write(json.dumps(found))


def timed(ask: Callable[[], object], requests: int) -> list[float]:
    """Seconds of each request, one after the other."""
    for _ in range(WARM):
        ask()
    found = []
    for _ in range(requests):
        began = time.perf_counter()
        ask()
        found.append(time.perf_counter() - began)
    return found


def rest(port: int, row: list[float]) -> Callable[[], object]:
    """Asks on one keep-alive connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    tensor = {"name": "row", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    body = json.dumps({"inputs": [tensor]})

    def ask() -> None:
        connection.request("POST", f"/v2/models/{MODEL}/infer", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{answer.status}: {text[:300]!r}")

    return ask


def grpc(port: int, row: list[float]) -> Callable[[], object]:
    """Asks on one channel."""
    messages: Any = importlib.import_module("mlserver.grpc.dataplane_pb2")
    stubs: Any = importlib.import_module("mlserver.grpc.dataplane_pb2_grpc")
    channel = importlib.import_module("grpc").insecure_channel(f"127.0.0.1:{port}")
    stub = stubs.GRPCInferenceServiceStub(channel)
    tensor = messages.ModelInferRequest.InferInputTensor(
        name="row",
        datatype="FP32",
        shape=[1, len(row)],
        contents=messages.InferTensorContents(fp32_contents=row),
    )
    request = messages.ModelInferRequest(model_name=MODEL, inputs=[tensor])
    return lambda: stub.ModelInfer(request)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
