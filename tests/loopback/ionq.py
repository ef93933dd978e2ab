"""A double of IonQ's REST interface, version 0.4, as far as its Qiskit provider uses it.

It simulates the gates that arrive, draws the shots, and keeps its jobs. Written from the provider's
own client (qiskit-ionq 1.1.1): the service itself was not asked.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import CXGate, CZGate, HGate, RXGate, RYGate, RZGate, SXGate, XGate
from qiskit.quantum_info import Statevector

_ABSTRACT = {"h": HGate, "x": XGate, "v": SXGate, "rx": RXGate, "ry": RYGate, "rz": RZGate}


class IonQ:
    """Jobs and devices of the double.

    Args:
        qubits: Qubits of every device.
        seed: Seed of the shots.
    """

    def __init__(self, qubits: int = 8, seed: int = 1) -> None:
        self.qubits, self.jobs = qubits, {}  # type: tuple[int, dict[str, dict[str, Any]]]
        self.lose = 0  # answers to submissions that are lost after the job was taken
        self.status = "completed"
        self._random = np.random.default_rng(seed)

    def take(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a job and return the answer to its submission."""
        name = f"ionq-{len(self.jobs)}"
        given = request["input"]
        circuits = [each["circuit"] for each in given["circuits"]]
        found = {}
        for index, gates in enumerate(circuits):
            shares = _probabilities(gates, given["qubits"])
            counts = self._random.multinomial(request["shots"], shares) / request["shots"]
            found[f"{name}-{index}"] = {str(k): float(p) for k, p in enumerate(counts) if p}
        self.jobs[name] = {
            "id": name,
            "status": self.status,
            "type": request["type"],
            "metadata": request["metadata"],
            "stats": {"circuits": len(circuits), "qubits": given["qubits"]},
            "child_job_ids": list(found),
            "execution_duration_ms": 5,
            "results": {"probabilities": {"url": f"/v0.4/jobs/{name}/results/probabilities"}},
            "failure": {"code": "TooHot", "error": "the trap was empty"},
            "found": found,
        }
        return {"id": name, "status": "submitted"}


def _probabilities(gates: list[dict[str, Any]], qubits: int) -> np.ndarray:
    from qiskit_ionq import GPI2Gate, GPIGate, MSGate

    circuit = QuantumCircuit(qubits)
    for gate in gates:
        name, controls = gate["gate"], gate.get("controls", [])
        where = [*controls, *gate.get("targets", [gate.get("target")])]
        if name in ("gpi", "gpi2"):
            circuit.append({"gpi": GPIGate, "gpi2": GPI2Gate}[name](gate["phase"]), where)
        elif name == "ms":
            circuit.append(MSGate(*gate["phases"], gate["angle"]), where)
        elif controls:
            circuit.append({"x": CXGate, "z": CZGate}[name](), where)
        else:
            angles = [gate["rotation"]] if "rotation" in gate else []
            circuit.append(_ABSTRACT[name](*angles), where)
    shares = Statevector(circuit).probabilities()
    return shares / shares.sum()


@contextmanager
def serving(double: IonQ) -> Iterator[str]:
    """Serve the double on the loopback interface; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: object, status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = double.take(json.loads(body))
            if double.lose:
                double.lose -= 1
                self.close_connection = True  # the job is taken, and nobody hears of it
                return
            self.answer(answer)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].replace("//", "/")
            if path.startswith("/v0.4/backends/"):
                self.answer({"qubits": double.qubits})
            elif match := re.fullmatch(r"/v0\.4/jobs/([\w-]+)(/results/probabilities)?", path):
                job = double.jobs.get(match[1])
                if job is None:
                    self.answer({"error": "no such job"}, 404)
                else:
                    self.answer(job["found"] if match[2] else {**job, "found": None})
            else:
                self.answer({"error": path}, 404)

        def do_PUT(self) -> None:
            job = double.jobs[self.path.split("/")[3]]
            job["status"] = "canceled"
            self.answer({"id": job["id"], "status": "canceled"})

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v0.4"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
