"""What the platform answers, request by request."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

from loopback import devices
from loopback.cloud import Cloud, Job
from loopback.execution import shots_of
from loopback.faults import CLOSED_BATCH, EndJob

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/loopback:loopback::"
#: Another instance, which has the same devices and none of the first one's jobs.
OTHER_CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/another:another::"

Answer = tuple[int, Any]  # status, JSON-able body (a str is sent as it is)


class Answers:
    """The real answer to every kind of request, by method name.

    Args:
        cloud: What the platform knows.
        token_seconds: Life of an access token.
    """

    def __init__(self, cloud: Cloud, token_seconds: int) -> None:
        self.cloud = cloud
        self.token_seconds = token_seconds
        self.tokens: set[str] = set()

    def answer(self, kind: str, args: tuple[str, ...], query: dict, body: Any) -> Answer:
        """Return the real answer to a request."""
        return getattr(self, f"_{kind}")(*args, query=query, body=body)

    def submit(self, body: Any, ending: EndJob | None) -> Answer:
        """Take a job, which may be bound to end badly."""
        return self._submit({}, body, ending)

    # --- account --------------------------------------------------------------------------------

    def _token(self, query: dict, body: Any) -> Answer:
        now = int(time.time())
        claims = {"iat": now, "exp": now + self.token_seconds, "jti": secrets.token_hex(8)}
        parts = [json.dumps({"alg": "none"}).encode(), json.dumps(claims).encode(), b"loopback"]
        token = ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)
        self.tokens.add(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expiration": claims["exp"]}

    def _search(self, query: dict, body: Any) -> Answer:
        items = [
            {
                "crn": crn,
                "name": name,
                "service_plan_unique_id": "plan-loopback",
                "tags": [],
                "doc": {"extensions": {"backends": list(self.cloud.devices)}},
            }
            for crn, name in ((CRN, "loopback"), (OTHER_CRN, "another"))
        ]
        return 200, {"items": items, "limit": 100}

    def _catalog(self, query: dict, body: Any) -> Answer:
        names = {"en": {"display_name": "Open"}}
        return 200, {"overview_ui": names, "metadata": {"pricing": {"type": "free"}}}

    def _usage(self, query: dict, body: Any) -> Answer:
        return 200, self.cloud.usage_json()

    # --- devices --------------------------------------------------------------------------------

    def _backends(self, query: dict, body: Any) -> Answer:
        listed = [
            {
                "name": name,
                "status": {"name": "online"},
                "qubits": devices.num_qubits(name),
                "queue_length": len(self.cloud.find((), None, True, True)),
            }
            for name in self.cloud.devices
        ]
        return 200, {"devices": listed}

    def _configuration(self, name: str, query: dict, body: Any) -> Answer:
        return 200, devices.configuration(name)

    def _properties(self, name: str, query: dict, body: Any) -> Answer:
        return 200, devices.properties(name)

    def _backend_status(self, name: str, query: dict, body: Any) -> Answer:
        waiting = len(self.cloud.find((), None, True, True))
        return 200, {"state": True, "status": "active", "length_queue": waiting}

    # --- jobs -----------------------------------------------------------------------------------

    def _submit(self, query: dict, body: Any, ending: EndJob | None = None) -> Answer:
        session = self.cloud.sessions.get(body.get("session_id") or "")
        if body.get("session_id") and (session is None or not session["accepting_jobs"]):
            return CLOSED_BATCH.status, CLOSED_BATCH.body
        most = devices.configuration(body["backend"])["max_shots"]
        if shots_of(body["params"]) > most:
            message = f"The number of shots exceeds the {most} that the backend allows."
            return 400, {"errors": [{"code": 1511, "message": message}]}
        if self.cloud.full():
            message = (
                f"You have reached the limit of {self.cloud.pending_cap} pending jobs. Please wait "
                "for a job to complete or cancel one before submitting anything new."
            )
            return 403, {"errors": [{"code": 3458, "message": message}]}
        job = self.cloud.accept(body, ending)
        return 200, {"id": job.id, "backend": job.backend}

    def _jobs(self, query: dict, body: Any) -> Answer:
        pending = {"true": True, "false": False}.get(query.get("pending", [""])[0])
        found = self.cloud.find(
            query.get("tags", []),
            query.get("session_id", [None])[0],
            pending,
            query.get("sort", ["DESC"])[0] == "ASC",
        )
        start = int(query.get("offset", ["0"])[0])
        stop = start + int(query.get("limit", ["200"])[0])
        page = [job.as_json(with_params=False) for job in found[start:stop]]
        return 200, {"jobs": page, "count": len(found)}

    def _one(self, job_id: str) -> Job | None:
        return self.cloud.jobs.get(job_id)

    def _job(self, job_id: str, query: dict, body: Any) -> Answer:
        if (job := self._one(job_id)) is None:
            return _missing("Job")
        return 200, job.as_json(with_params="exclude_params" not in query)

    def _delete(self, job_id: str, query: dict, body: Any) -> Answer:
        return (204, "") if self.cloud.jobs.pop(job_id, None) else _missing("Job")

    def _result(self, job_id: str, query: dict, body: Any) -> Answer:
        job = self._one(job_id)
        if job is None:
            return _missing("Job")
        found = job.result
        if job.private and found is not None:
            job.result = None  # given once
        return (200, found) if found is not None else _missing("Result")

    def _metrics(self, job_id: str, query: dict, body: Any) -> Answer:
        job = self._one(job_id)
        return _missing("Job") if job is None else (200, self.cloud.metrics_json(job))

    def _logs(self, job_id: str, query: dict, body: Any) -> Answer:
        return 200, "no logs"

    def _cancel(self, job_id: str, query: dict, body: Any) -> Answer:
        if (job := self._one(job_id)) is None:
            return _missing("Job")
        if self.cloud.cancel(job):
            return 204, ""
        message = "Job already in a final state."
        return 409, {"errors": [{"code": 1297, "message": message}]}

    def _tags(self, job_id: str, query: dict, body: Any) -> Answer:
        if (job := self._one(job_id)) is None:
            return _missing("Job")
        job.tags = tuple(body["tags"])
        return 204, ""

    # --- batches --------------------------------------------------------------------------------

    def _session_open(self, query: dict, body: Any) -> Answer:
        if body["mode"] == "dedicated" and not self.cloud.offers_sessions:
            message = "You are not authorized to run a session when using the open plan."
            return 400, {"errors": [{"code": 1352, "message": message}]}
        session = {
            "id": f"s{secrets.token_hex(8)}",
            "backend_name": body["backend"],
            "mode": body["mode"],
            "max_ttl": body.get("max_ttl"),
            "state": "open",
            "accepting_jobs": True,
        }
        self.cloud.sessions[session["id"]] = session
        return 200, session

    def _session(self, session_id: str, query: dict, body: Any) -> Answer:
        session = self.cloud.session_json(session_id)
        return (200, session) if session else _missing("Session")

    def _session_close(self, session_id: str, query: dict, body: Any) -> Answer:
        session = self.cloud.sessions.get(session_id)
        if session is None:
            return _missing("Session")
        session["accepting_jobs"] = False
        self.cloud.session_json(session_id)
        if body is None:  # DELETE ends the jobs as well, PATCH lets them finish
            for job in self.cloud.find((), session_id, True, True):
                self.cloud.cancel(job)
        return 204, ""


def _missing(what: str) -> Answer:
    return 404, {"errors": [{"code": 1291, "message": f"{what} not found."}]}
