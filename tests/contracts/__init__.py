"""Suites that everything of one kind passes."""

import pytest

pytest.register_assert_rewrite("contracts.head_contract", "contracts.target_contract")
