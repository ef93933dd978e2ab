"""What the client's failures mean, and what it must never do."""

from __future__ import annotations

import re
import time
import warnings
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
from ibm_cloud_sdk_core import ApiException
from loopback import Cloud, FaultPlan, Loopback, Reply
from qiskit_ibm_runtime.accounts import AccountNotFoundError, InvalidAccountError
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeJobNotFound,
)

from hardware.devices.ibm.client import ask, guarded, open_service, translate, within
from hardware.errors import (
    AccountError,
    BatchClosedError,
    BudgetError,
    BusyError,
    LoginServiceError,
    NoAccountError,
    RefusedError,
    UnclearError,
    VanishedError,
)

pytestmark = pytest.mark.usefixtures("quick_retries")


def failed(status: int, body: str = "", headers: dict[str, str] | None = None) -> IBMRuntimeError:
    """Return the exception of a failed submission as the client raises it: status in context."""
    answer = requests.Response()
    answer.status_code = status
    answer._content = body.encode()
    answer.headers.update(headers or {})
    try:
        try:
            try:
                answer.raise_for_status()
            except requests.HTTPError as error:
                raise RequestsApiError(f"{error}. {body}", status) from error
        except RequestsApiError as error:
            raise IBMRuntimeError(f"Failed to run program: {error}") from None
    except IBMRuntimeError as error:
        return error
    raise AssertionError


CODE_3458 = '{"errors": [{"code": 3458, "message": "%s"}]}'


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (failed(401), AccountError),
        (IBMNotAuthorizedError("401"), AccountError),
        (AccountNotFoundError("no account"), NoAccountError),
        (failed(429), BusyError),
        (failed(403, "You have reached the limit of 3 pending jobs."), BusyError),
        (failed(400, "Reached maximum number (5) of concurrent jobs"), BusyError),
        (failed(403, CODE_3458 % "You reached the limit on queued jobs"), BusyError),
        (failed(400, CODE_3458 % "Too many jobs in queue"), BusyError),
        (failed(409, CODE_3458 % "no, quota"), BusyError),
        (failed(403, "Too many jobs in queue"), BusyError),
        (failed(409, "The instance has 3 running jobs, wait"), BusyError),
        (failed(500, CODE_3458 % "gateway"), UnclearError),
        (failed(400, '{"errors": [{"code": 1217, "message": "x"}]}'), BatchClosedError),
        (failed(400, "no, Error code: 1217."), BatchClosedError),
        (IBMRuntimeError("The session is closed."), BatchClosedError),
        (failed(404), VanishedError),
        (RuntimeJobNotFound("Job not found"), VanishedError),
        (failed(400, "not valid"), RefusedError),
        (failed(413), RefusedError),
        (IBMInputValueError("no pubs"), RefusedError),
        (failed(408), UnclearError),
        (failed(500), UnclearError),
        (failed(502), UnclearError),
        (RequestsApiError("too many 500 error responses"), UnclearError),
        (requests.ConnectionError("aborted"), UnclearError),
        (IBMRuntimeError("Failed to run program: 'Connection aborted.'"), UnclearError),
        (KeyError("jobs"), UnclearError),
        (UserWarning("Unable to retrieve IBM Cloud access token. API Key ..."), LoginServiceError),
        (UserWarning("This instance has met its usage limit."), BudgetError),
    ],
)
def test_what_failures_mean(error, meaning):
    assert type(translate(error)) is meaning


@pytest.mark.parametrize(
    "error",
    [
        UserWarning("Unable to retrieve IBM Cloud access token"),
        UserWarning("This instance has met its usage limit"),
        IBMNotAuthorizedError("no"),
    ],
)
def test_messages_hold_before_there_is_a_run_too(error):
    text = str(translate(error))
    assert "a run that has begun can be resumed" in text
    assert "the run" not in text.lower()
    assert "()" not in text


def test_when_a_busy_platform_wants_to_be_asked_again():
    assert translate(failed(429)).retry_after is None
    assert translate(failed(429, headers={"Retry-After": "7"})).retry_after == 7
    assert translate(failed(429, headers={"Retry-After": "soon"})).retry_after is None
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    waits = translate(failed(429, headers={"Retry-After": when})).retry_after
    assert 25 < waits <= 30


def test_secrets_are_cut_out_of_messages():
    error = failed(400, "crn:v1:bluemix:public:x:us-east:a/1:2:: said Bearer abc.def-g")
    text = str(translate(error))
    assert "crn:" not in text
    assert "abc.def" not in text


def test_messages_have_the_platforms_words_and_not_the_clients():
    body = '{"errors": [{"code": 1, "message": "not valid, see https://x.ibm.com/a?b=crn:v1:c"}]}'
    assert str(translate(failed(400, body), "to run a job")) == (
        "The platform was asked to run a job and refuses (HTTP 400): not valid, see."
    )
    for error in (
        failed(500, "<html>gateway</html>"),
        failed(502),
        requests.ConnectionError("HTTPSConnectionPool(host='x.ibm.com'): Max retries exceeded"),
        RequestsApiError("Max retries: ResponseError('too many 500 error responses')"),
        KeyError("jobs"),
        zlib.error("Error -3 while decompressing data"),
        RecursionError("maximum recursion depth exceeded"),
    ):
        text = str(translate(error, "for the list of jobs"))
        assert text.startswith("The platform was asked for the list of jobs and failed: ")
        assert not re.search(r"Error|http|ibm|html|HTTPS|Max retries|depth|'jobs'", text)


@pytest.mark.parametrize("status", [402, 409])
def test_a_limit_on_usage_holds_work_back_and_refuses_nothing_else(status):
    assert type(translate(failed(status), sending=True)) is BudgetError
    assert type(translate(failed(status))) is RefusedError
    told = failed(403, '{"errors": [{"message": "You have reached your usage limit."}]}')
    assert type(translate(told, sending=True)) is BudgetError


@pytest.mark.parametrize("status", [500, 503, None])
def test_a_login_service_that_fails_says_nothing_against_the_account(status):
    text = "Unable to retrieve IBM Cloud access token. API Key will be used instead."
    try:
        try:
            raise ApiException(status, message="x") if status else requests.ConnectionError("y")
        except Exception as cause:
            raise InvalidAccountError("Please check your token") from cause
    except InvalidAccountError as error:
        found = translate(error)
    assert isinstance(found, UnclearError)
    for message in (str(found), str(translate(UserWarning(text)))):
        assert "ave a valid account" not in message


@pytest.mark.parametrize("sending", [True, False])
def test_a_limit_on_jobs_is_no_limit_on_usage(sending):
    error = failed(409, "The instance has 3 running jobs, wait")
    assert type(translate(error, sending=sending)) is BusyError
    error = failed(403, CODE_3458 % "limit on usage of queued places")
    assert type(translate(error, sending=sending)) is BusyError


@pytest.mark.parametrize(
    "answer",
    [
        "<html>",
        "{}",
        "null",
        "[]",
        '{"access_token": 5}',
        '{"access_token": "abc", "expires_in": 3}',
    ],
)
def test_a_login_service_that_answers_nonsense_says_nothing_against_the_account(answer):
    with (
        Loopback(Cloud(), FaultPlan(always={"token": Reply(200, answer)})) as double,
        double.addresses(),
        pytest.raises(LoginServiceError, match="malformed") as caught,
    ):
        open_service(**double.account())
    assert caught.value.exit_code == 1
    assert "ave a valid account" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_login_service_that_refuses_the_key_refuses_the_account(status):
    with (
        Loopback(Cloud(), FaultPlan(always={"token": Reply(status)})) as double,
        double.addresses(),
        pytest.raises(AccountError, match="ave a valid account") as caught,
    ):
        open_service(**double.account())
    assert caught.value.exit_code == 2


def test_an_account_that_the_client_refuses_itself_is_the_users_to_mend():
    assert type(translate(InvalidAccountError("Invalid `region` value."))) is AccountError


@pytest.mark.parametrize("status", [401, 404, 429])
def test_a_failure_means_the_same_while_another_is_handled(status):
    def fails():
        raise failed(500)

    def again():
        raise failed(402)

    try:
        raise failed(status)
    except IBMRuntimeError:
        with pytest.raises(UnclearError, match="server error 500"):
            ask(fails, 5)
        with pytest.raises(UnclearError, match="malformed"):
            ask(lambda: {}["jobs"], 5)
        with pytest.raises(BudgetError):
            ask(again, 5, sending=True)


def test_an_answer_that_does_not_come_is_not_waited_for():
    begun = time.monotonic()
    with pytest.raises(UnclearError, match=r"0\.1 s"):
        within(lambda: time.sleep(5), 0.1)
    assert time.monotonic() - begun < 2
    assert within(lambda: 3, 5) == 3
    with pytest.raises(UnclearError, match="cut or malformed"):
        ask(lambda: 1 // 0, 5)  # nobody can list all that the client stumbles over


def test_the_raw_key_warning_is_an_error_from_then_on():
    text = "Unable to retrieve IBM Cloud access token. API Key will be used instead."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn(text, stacklevel=1)  # before: nothing
        with guarded(), pytest.raises(UserWarning):
            warnings.warn(text, stacklevel=1)
        with pytest.raises(UserWarning):
            warnings.warn(text, stacklevel=1)
        warnings.warn("The backend has a status of internal.", stacklevel=1)


def test_no_saved_account_is_the_users_to_mend(tmp_path):
    with pytest.raises(AccountError, match="account") as caught:
        open_service(filename=str(tmp_path / "none.json"))
    assert caught.value.exit_code == 2
