"""The layers of a plan whose noise must be learned before PEC or PEA, and what was learned of them.

The client's ``NoiseLearnerV3`` learns it in a job of its own::

    made = plan(workload, backend, PlanOptions(mitigation=mitigation))  # the cost, at most
    layers = noise_layers(made)
    learned = NoiseLearnerV3(backend).run(layers).result().to_pauli_lindblad_maps()
    mitigation = replace(mitigation, layer_noise=layer_noise(layers, learned))
    made = plan(workload, backend, PlanOptions(mitigation=mitigation))  # the cost, exactly

That job is sent by the caller: it is in no plan's cost, in no budget and not in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qiskit.circuit import CircuitInstruction
from qiskit.quantum_info import PauliLindbladMap

from hardware.circuits.layer_noise import LayerNoise
from hardware.devices.ibm.layers import layer_name, unique_layers
from hardware.errors import PlanError
from hardware.planning.plan import JobPlan
from hardware.planning.pubs import job_request


def noise_layers(plan: JobPlan) -> list[CircuitInstruction]:
    """Return the layers of gates that a plan runs, as the client's noise learner takes them.

    Raises:
        PlanError: The plan's mitigation needs no noise.
    """
    from qiskit_ibm_runtime.options_models import EstimatorOptions

    if not plan.options.mitigation.samples_noise:
        raise PlanError("Only PEC and PEA need the noise of layers: plan with one of them.")
    request = job_request(plan, 0)  # all jobs run the same circuit
    return unique_layers(request.pubs, EstimatorOptions(**request.options))


def layer_noise(
    layers: Sequence[CircuitInstruction], maps: Iterable[PauliLindbladMap]
) -> tuple[LayerNoise, ...]:
    """Return the learned noise of layers as `Mitigation.layer_noise` takes it.

    Args:
        layers: As `noise_layers` returns them.
        maps: Noise of each, in the same order.
    """
    pairs = zip(layers, maps, strict=True)
    return tuple(LayerNoise.of(layer_name(layer), noise) for layer, noise in pairs)
