"""scikit-learn's own checks of a classifier, on every head."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from qhead.heads import InspiredHead, MLPHead, QuantumHead, ReducedMLPHead, TorchHead
from qhead.training import TrainingOptions

QUICK = TrainingOptions(learning_rate=0.1, max_epochs=10, batch_size=16)

#: Check that cannot apply -> the reason. A check listed here must fail.
#: (Weights as repetitions are tested in test_sample_weight.py, with full batches and to float32.)
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "batches and the validation set are drawn",
}


def expected_failures(head: TorchHead) -> dict[str, str]:
    return EXPECTED_FAILURES


@parametrize_with_checks(
    [
        MLPHead(training=QUICK),
        MLPHead(hidden=4, training=QUICK),
        InspiredHead(num_units=4, training=QUICK),
        ReducedMLPHead(num_components=2, training=QUICK),
        # A register wider than any of the checks' data, and enough layers to tell their classes.
        QuantumHead(
            num_qubits=3,
            num_layers=1,
            connectivity=2,
            num_measured=3,
            encoder_qubits=6,
            encoder_layers=1,
            training=QUICK,
        ),
    ],
    expected_failed_checks=expected_failures,
    xfail_strict=True,
)
def test_conforms_to_scikit_learn(estimator, check) -> None:
    check(estimator)
