"""Suites that everything of one kind passes."""

import pytest

pytest.register_assert_rewrite(
    "contracts.head_contract", "contracts.sampling_bounds", "contracts.target_contract"
)
