"""How every error leaves the HTTP side: ``{"code", "reason"}`` with the status of ``contracts.errors``."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from contracts.errors import SegloopError, Usage, answer_to


def explain_errors(app: FastAPI) -> None:
    """Let an application answer typed errors, wrong arguments and HTTP's own errors in one form."""
    app.add_exception_handler(SegloopError, _typed)
    app.add_exception_handler(RequestValidationError, _arguments)
    app.add_exception_handler(HTTPException, _plain)


async def _typed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SegloopError)
    return JSONResponse({"code": error.code, "reason": error.sentence}, answer_to(error).http)


async def _arguments(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}" for fault in error.errors()]
    return JSONResponse({"code": "bad_arguments", "reason": "; ".join(faults)}, answer_to(Usage("", "")).http)


async def _plain(_: Request, error: Exception) -> JSONResponse:
    """An ``HTTPException``: ours carries code and reason, the framework's (no such address or method) a phrase."""
    assert isinstance(error, HTTPException)
    found: object = error.detail
    body = found if isinstance(found, dict) else {"code": f"http_{error.status_code}", "reason": f"{found}."}
    return JSONResponse(body, error.status_code, dict(error.headers or {}))
