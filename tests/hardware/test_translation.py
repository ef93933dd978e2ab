"""When a failure proves that nothing was sent, and what single answers mean."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import requests
import urllib3
from ibm_cloud_sdk_core import ApiException
from qiskit_ibm_runtime.accounts import InvalidAccountError
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import IBMRuntimeError

from hardware.devices.asking import plain
from hardware.devices.ibm.answers import seconds
from hardware.devices.ibm.translation import RAW_KEY, translate
from hardware.errors import (
    AccountError,
    BatchClosedError,
    BudgetError,
    BusyError,
    LoginServiceError,
    RefusedError,
    UnclearError,
    VanishedError,
)

NUMBERED = '{"errors": [{"code": 1000, "message": "no"}]}'


def answered(
    status: int,
    body: str = NUMBERED,
    *,
    method: str = "POST",
    path: str = "/jobs",
    tries: int | None = 1,
) -> requests.HTTPError:
    """Return the error of a request that was answered after some tries; None: not known."""
    request = requests.Request(method, f"http://platform.test/api/v1{path}").prepare()
    answer = requests.Response()
    answer.status_code, answer.request = status, request
    answer._content = body.encode()
    retries = None if tries is None else SimpleNamespace(history=("failed",) * (tries - 1))
    answer.raw = SimpleNamespace(retries=retries)
    return requests.HTTPError(f"{status}. {body}", request=request, response=answer)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429])
def test_a_numbered_refusal_of_the_only_request_proves_that_nothing_was_sent(status):
    assert translate(answered(status), sending=True).sure


@pytest.mark.parametrize(
    "error",
    [
        answered(402),
        answered(405),
        answered(410),
        answered(423),
        answered(430),
        answered(500),
        answered(400, tries=2),  # the first may have been accepted
        answered(400, tries=None),
        answered(400, "<html>gateway</html>"),
        answered(400, '{"errors": []}'),
        answered(400, '{"errors": [{"code": 999, "message": "no"}]}'),
        answered(400, '{"errors": [{"code": 1000}, {"code": 12}]}'),
        answered(500, method="POST", path="/usage"),
        answered(500, method="GET", path="/jobs"),
        requests.ConnectionError("lost"),
    ],
)
def test_nothing_else_proves_it(error):
    assert not translate(error, sending=True).sure


@pytest.mark.parametrize("path", ["/instances/usage", "/backends/x/status"])
def test_what_the_client_asks_before_it_sends_proves_it_too(path):
    assert translate(answered(500, "", method="GET", path=path, tries=3), sending=True).sure


@pytest.mark.parametrize("code", [1216, 1217])
def test_a_closed_batch_has_two_codes(code):
    body = f'{{"errors": [{{"code": {code}, "message": "x"}}]}}'
    assert type(translate(answered(400, body))) is BatchClosedError


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(399, UnclearError), (400, BudgetError), (499, BudgetError), (500, UnclearError)],
)
def test_a_limit_on_usage_is_one_in_any_refusal(status, meaning):
    error = requests.HTTPError(f"{status}: usage limit")
    error.response = answered(status).response
    assert type(translate(error, sending=True)) is meaning


def test_a_refusal_is_one_up_to_the_last_status_of_its_kind():
    assert type(translate(answered(400))) is RefusedError
    assert type(translate(answered(499))) is RefusedError
    assert type(translate(answered(500))) is UnclearError


def test_words_of_the_platform_are_cut_to_what_fits():
    assert plain("x" * 400) == "x" * 300


def test_no_account_has_more_than_a_milliard_seconds():
    assert seconds(1e9) == 1e9
    assert seconds(1e9 + 0.5) is None


def login_failed(status: int) -> UserWarning:
    """Return the client's warning before it would send the raw key, with its cause."""
    response = requests.Response()
    response.status_code = status
    error = UserWarning(RAW_KEY)
    error.__cause__ = ApiException(status, message="x", http_response=response)
    return error


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_key_that_the_login_service_refuses_is_the_users_to_mend(status):
    assert type(translate(login_failed(status))) is AccountError


@pytest.mark.parametrize("status", [402, 404, 500])
def test_a_login_service_that_fails_is_to_be_asked_again(status):
    assert type(translate(login_failed(status))) is LoginServiceError


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("x"),
        ConnectionError("x"),
        urllib3.exceptions.ProtocolError("x"),
        requests.exceptions.ChunkedEncodingError("x"),
        ValueError("('Connection aborted.', 3)"),
    ],
)
def test_a_lost_connection_is_called_one(error):
    assert "the connection was lost or not made" in str(translate(error))


def test_an_answer_that_cannot_be_read_is_called_one():
    error = requests.exceptions.JSONDecodeError("x", "", 0)
    assert "cut or malformed" in str(translate(error))


@pytest.mark.parametrize(
    "body",
    [
        '{"errors": [], "error": {"message": "why"}}',
        '{"errors": "many", "error": {"errorMessage": "why"}}',
        '{"errors": [{"message": "why"}]}',
        '{"errors": [7], "message": "why"}',
    ],
)
def test_the_platforms_words_are_found_in_each_form(body):
    assert str(translate(answered(422, body))).endswith("refuses (HTTP 422): why.")


def test_a_status_of_zero_or_less_is_none():
    error = RequestsApiError("x", -1)
    assert "HTTP" not in str(translate(error))


@pytest.mark.parametrize("value", ["-3", "0"])
def test_no_platform_wants_to_be_asked_before_now(value):
    error = answered(429)
    error.response.headers["Retry-After"] = value
    assert translate(error).retry_after == 0.0
    error.response.headers["Retry-After"] = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert translate(error).retry_after == 0.0


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("404 Client Error: not found", VanishedError),
        ("413 Client Error: too large", RefusedError),
        ("Max retries exceeded: too many 429 error responses", BusyError),
        ("too many 503 error responses", UnclearError),
    ],
)
def test_a_status_is_read_from_the_clients_words_where_it_kept_nothing_else(text, meaning):
    assert type(translate(IBMRuntimeError(text))) is meaning


@pytest.mark.parametrize(
    ("status", "meaning"), [(1, UnclearError), (0, UnclearError), (404, VanishedError)]
)
def test_the_clients_own_status_counts(status, meaning):
    assert type(translate(RequestsApiError("x", status))) is meaning


@pytest.mark.parametrize("status", [400, 403])
def test_an_account_that_the_platform_refuses_is_the_users_to_mend(status):
    error = InvalidAccountError("x")
    error.__cause__ = RequestsApiError("x", status)
    assert type(translate(error)) is AccountError


def test_of_a_traceback_the_last_line_is_kept():
    text = "Traceback (most recent call last):\n  File 'x', line 3\nValueError: why"
    assert plain(text) == "ValueError: why"
