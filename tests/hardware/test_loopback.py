"""The double of the platform: true to the client, deterministic, and faulty where told."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, shifted
from loopback import CLOSED_BATCH, Cloud, Drop, EndJob, FaultPlan, Garble, Loopback, Reply
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_ibm_runtime import Batch
from qiskit_ibm_runtime.exceptions import (
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
)
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_sampler import Sampler

SHOTS = 2000
VALUES = np.array([[0.0, 0.0], [np.pi, 0.0], [0.7, 1.9]])  # (3, 2), radians


def ansatz() -> QuantumCircuit:
    x = ParameterVector("x", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(x[0], 0)
    circuit.cx(0, 1)
    circuit.ry(x[1], 1)
    return circuit


def isa(backend, measured=True, layout=(1, 2)):
    circuit = ansatz()
    if measured:
        circuit.measure_all()
    return transpile(circuit, backend, initial_layout=layout, optimization_level=0)


def submit(service, device="ibm_manila", tags=("t",), mode=None, layout=(1, 2)):
    backend = service.backend(device)
    sampler = Sampler(mode=mode or backend)
    sampler.options.environment.job_tags = list(tags)
    return sampler.run([(isa(backend, layout=layout), VALUES)], shots=SHOTS)


def exact(pauli: str) -> np.ndarray:
    bound = [ansatz().assign_parameters(row) for row in VALUES]
    return np.array([Statevector(c).expectation_value(SparsePauliOp(pauli)).real for c in bound])


@pytest.mark.parametrize(("device", "layout"), [("ibm_manila", (1, 2)), ("ibm_fez", (100, 101))])
@pytest.mark.sampled
def test_sampler_jobs_run_through_the_unmodified_client(device, layout):
    with Loopback(Cloud((device,), seed=shifted(7))) as double:
        job = submit(double.service(), device, layout=layout)
        bits = job.result()[0].data.meas
        # The circuit itself takes some microseconds, on the slowest device a dozen.
        assert 3 * SHOTS * 250e-6 < job.usage() - 2 < 3 * SHOTS * 265e-6
    for pauli in ("IZ", "ZI", "ZZ"):
        assert_means(bits.expectation_values(pauli), exact(pauli), SHOTS)


@pytest.mark.sampled
def test_estimator_jobs_with_their_default_twirling():
    with Loopback(Cloud(seed=shifted(7))) as double:
        backend = double.service().backend("ibm_manila")
        circuit = isa(backend, measured=False)
        paulis = ("IZ", "ZI", "XX")
        observables = [[SparsePauliOp(p).apply_layout(circuit.layout)] for p in paulis]
        job = Estimator(mode=backend).run([(circuit, observables, VALUES)], precision=0.03)
        evs = job.result()[0].data.evs  # (3 observables, 3 sets)
    assert_means(evs, [exact(p) for p in paulis], 1112)  # 1 / 0.03²


def test_equal_jobs_have_equal_results_and_other_seeds_others():
    def bits(seed, tags):
        with Loopback(Cloud(seed=seed)) as double:
            return submit(double.service(), tags=tags).result()[0].data.meas.array

    first = bits(1, ("a",))
    np.testing.assert_array_equal(first, bits(1, ("b", "c")))
    assert (first != bits(2, ("a",))).any()


def test_the_client_sends_a_job_twice_when_the_answer_is_lost_in_a_gateway(quick_retries):
    plan = FaultPlan({("submit", 1): Reply(502, after=True)})
    with Loopback(Cloud(), plan) as double:
        service = double.service()
        submit(service, tags=("twice",))
        assert len(service.jobs(job_tags=["twice"], limit=None)) == 2
        double.cloud.wait_idle()
        assert max(double.cloud.charges().values()) == 2
        assert double.cloud.charges_by_tag()["twice"] == 2


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        (Drop(), 0),
        (Drop(after=True), 1),
        (Reply(429), 0),
        (Reply(429, headers=(("Retry-After", "1"),)), 0),
        (CLOSED_BATCH, 0),
    ],
)
def test_submissions_that_fail_at_once(fault, accepted):
    with Loopback(Cloud(), FaultPlan({("submit", 1): fault})) as double:
        service = double.service()
        with pytest.raises(IBMRuntimeError):
            submit(service)
        assert len(double.cloud.jobs) == accepted
        assert double.faults.seen["submit"] == 1


@pytest.mark.parametrize("kind", ["submit", "usage", "backend_status"])
def test_a_persistent_5xx_outlasts_the_retries(kind, quick_retries):
    with Loopback(Cloud(), FaultPlan(always={kind: Reply(500)})) as double:
        service = double.service()
        with pytest.raises(Exception, match="too many 500 error responses"):
            submit(service)
        assert double.faults.seen[kind] == 6
        assert not double.cloud.jobs


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (EndJob("Failed", "broken"), RuntimeJobFailureError),
        (EndJob("Cancelled"), RuntimeInvalidStateError),
        (EndJob("Cancelled", "Ran too long", 1305), RuntimeJobMaxTimeoutError),
    ],
)
def test_jobs_that_end_without_a_result(ending, error):
    with Loopback(Cloud(), FaultPlan({("submit", 1): ending})) as double:
        with pytest.raises(error):
            submit(double.service()).result()
        assert double.cloud.consumed == 0


def test_a_result_that_is_no_json_passes_the_client_or_breaks_in_it():
    with Loopback(Cloud(), FaultPlan({("result", 1): Garble()})) as double:
        job = submit(double.service())
        double.cloud.wait_idle()
        with pytest.raises((TypeError, ValueError, KeyError)):
            job.result()


def test_a_revoked_token_is_answered_with_401():
    with Loopback(Cloud()) as double:
        service = double.service()
        double.revoked = True
        with pytest.raises(IBMNotAuthorizedError):
            service.usage()


def test_the_client_falls_back_to_the_raw_key_when_the_account_service_is_down():
    with Loopback(Cloud(), token_seconds=-1) as double:
        service = double.service()
        double.faults.always["token"] = Reply(503)
        with (
            pytest.warns(UserWarning, match="API Key will be used instead"),
            pytest.raises(IBMNotAuthorizedError),
        ):
            service.usage()
        assert double.raw_key_requests == 1


def test_batches_take_jobs_until_they_are_closed():
    with Loopback(Cloud()) as double:
        service = double.service()
        batch = Batch(backend=service.backend("ibm_manila"))
        job = submit(service, mode=batch)
        assert double.cloud.jobs[job.job_id()].session_id == batch.session_id
        elsewhere = Batch.from_id(batch.session_id, service=service)
        batch.close()
        with pytest.raises(IBMRuntimeError, match="1217"):
            submit(service, mode=elsewhere)


def test_the_pending_cap_and_the_time_limit_hold():
    with Loopback(Cloud(pending_cap=1)) as double:
        double.cloud.hold()
        service = double.service()
        submit(service)
        with pytest.raises(IBMRuntimeError, match="limit of 1 pending jobs"):
            submit(service)
    with Loopback(Cloud()) as double:
        backend = double.service().backend("ibm_manila")
        sampler = Sampler(mode=backend)
        sampler.options.max_execution_time = 1
        with pytest.raises(RuntimeJobMaxTimeoutError):
            sampler.run([(isa(backend), VALUES)], shots=SHOTS).result()
        assert double.cloud.consumed == 1


def test_unknown_request_kinds_are_refused():
    with pytest.raises(ValueError, match="submitt"):
        FaultPlan({("submitt", 1): Drop()})
