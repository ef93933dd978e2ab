"""The layers of gates whose noise PEC and PEA need, and that noise in the client's options.

A layer is known by the client's own name of it, a hash of its gates and qubits, so that a plan can
hold its noise as data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from qiskit.circuit import CircuitInstruction

from hardware.circuits.layer_noise import LayerNoise
from hardware.errors import PlanError

if TYPE_CHECKING:
    from qiskit_ibm_runtime.options_models import EstimatorOptions


def unique_layers(pubs: Iterable[Any], options: EstimatorOptions) -> list[CircuitInstruction]:
    """Return the layers of an estimator's PUBs, boxed as the client boxes them for these options.

    The client's `Estimator.find_unique_layers` does the same and needs a device for it.
    """
    from qiskit.primitives.containers.estimator_pub import EstimatorPub
    from qiskit_ibm_runtime.executor_estimator.finalize_options import finalize_estimator_options
    from qiskit_ibm_runtime.executor_estimator.prepare import choose_task_class
    from qiskit_ibm_runtime.executor_estimator.utils import estimator_options_to_boxing_options
    from qiskit_mitigation import find_combined_unique_layers  # type: ignore[import-untyped]

    circuits = [EstimatorPub.coerce(pub).circuit for pub in pubs]
    final = finalize_estimator_options(options)
    task = choose_task_class(final.resilience)
    boxing = estimator_options_to_boxing_options(
        final.twirling, bool(final.resilience.measure_mitigation), inject_noise=True, add_tags=True
    )
    found: list[CircuitInstruction] = find_combined_unique_layers(
        circuits=circuits,
        mitigation_types=[task() for _ in circuits],
        custom_boxing_options=boxing,
        box_types="gates",
    )
    return found


def layer_name(layer: CircuitInstruction) -> str:
    """Return the client's name of a layer."""
    from samplomatic import InjectNoise
    from samplomatic.utils import get_annotation

    return str(get_annotation(layer.operation, InjectNoise).ref)


def set_layer_noise(
    options: EstimatorOptions, pubs: Sequence[Any], noise: Sequence[LayerNoise]
) -> None:
    """Put the learned noise of the PUBs' layers into the client's options.

    Raises:
        PlanError: The noise of a layer is missing, or has another number of qubits.
    """
    by_name = {each.layer: each for each in noise}
    model = []
    for layer in unique_layers(pubs, options):
        name, qubits = layer_name(layer), len(layer.qubits)
        if name not in by_name:
            raise PlanError(
                f"The noise of layer {name} ({qubits} qubits) is not in layer_noise, which has "
                f"{', '.join(sorted(by_name)) or 'no layers'}: the plan has other circuits or "
                "tiles than those it was learned for. Learn the noise of this plan's layers."
            )
        if by_name[name].num_qubits != qubits:
            raise PlanError(
                f"Expected noise of {qubits} qubits for layer {name}, got one of "
                f"{by_name[name].num_qubits}."
            )
        model.append((layer, by_name[name].as_map()))
    options.resilience.layer_noise_model = model
