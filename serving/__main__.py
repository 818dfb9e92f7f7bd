"""``python -m serving``: start the gateway. Every setting comes from the environment, prefix ``SEGLOOP_``."""

import socket

import typer
import uvicorn
from pydantic import ValidationError

from contracts.errors import Usage, answer_to, exit_codes
from serving.observe import configure_logging, log
from serving.settings import Settings


def _help() -> str:
    lines = ["Start the DICOM gateway. Research use only.", "", "Settings (environment variables):", ""]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f" (default {field.default})"
        lines.append(f"SEGLOOP_{name.upper()}{default}: {field.description}\n")
    return "\n".join(lines)


def serve() -> None:
    """Serve until a signal ends it; exit codes as in ``contracts.errors``."""
    configure_logging()
    with exit_codes():
        settings = _settings()
        _check_ports(settings)
        from serving.app import create_app

        app = create_app(settings)
        log.info(
            "starting",
            http=f"{settings.http_host}:{settings.http_port}",
            dicom=f"{settings.ae_title}@{settings.dicom_host}:{settings.dicom_port}",
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=settings.http_host,
                port=settings.http_port,
                log_config=None,
                access_log=False,
                server_header=False,
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
                timeout_graceful_shutdown=10,
            )
        )
        try:
            server.run()
        except SystemExit as end:  # uvicorn's code for a start that failed means something else here
            raise SystemExit(answer_to(end).exit) from end


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        named = [(str(fault["loc"][0]), fault["msg"]) for fault in error.errors()]
        faults = [
            f"SEGLOOP_{name.upper()}: {wrong}. {Settings.model_fields[name].description}" for name, wrong in named
        ]
        raise Usage("bad_settings", " ".join(faults)) from error


def _check_ports(settings: Settings) -> None:
    """Say which port is busy, and the setting that moves it, before anything starts."""
    for host, port, setting in (
        (settings.http_host, settings.http_port, "HTTP"),
        (settings.dicom_host, settings.dicom_port, "DICOM"),
    ):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise Usage(
                    "port_busy",
                    f"Port {port} on {host} cannot be used ({error.strerror}): see SEGLOOP_{setting}_PORT and "
                    f"SEGLOOP_{setting}_HOST.",
                ) from error


app = typer.Typer(add_completion=False)
app.command(help=_help())(serve)

if __name__ == "__main__":
    app()
