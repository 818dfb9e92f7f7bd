"""The command line ``python -m client``: send, status, retry, delete, echo, sample."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client import progress, summary
from client.api import Gateway, Study
from client.settings import ClientSettings
from contracts.errors import NotFound, SegloopError, Unreachable, Usage, answer_to

PROGRAM = "python -m client"
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Send studies to a segloop gateway and look after them. Research use only.",
)
sample = typer.Typer(no_args_is_help=True, help="Write a synthetic study to try things with.")
app.add_typer(sample, name="sample")

Api = Annotated[
    str, typer.Option("--api", help="The gateway's DICOMweb root. Default: SEGLOOP_URL, else this machine.")
]
Token = Annotated[Path | None, typer.Option("--token-file", help="File that holds the bearer token.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, everything else on stderr.")]


def open_gateway(api: str, token_file: Path | None) -> Gateway:
    """Return the gateway that options and settings name. Raises ``Usage`` for a token file that cannot be read."""
    settings = ClientSettings()
    file = token_file or settings.token_file
    try:
        token = file.read_text(encoding="utf-8").strip() if file else ""
    except OSError as error:
        raise Usage("token_file", f"The token file {file} cannot be read: {error.strerror}.") from error
    return Gateway(api or settings.url, token)


def consoles(as_json: bool) -> tuple[Console, Console]:
    """Return the console for results in words, and the one for progress; with --json stdout is the document's alone."""
    errors = Console(stderr=True, highlight=False)
    return (errors if as_json else Console(highlight=False)), errors


def put_json(document: object) -> None:
    """Print the one document of a command."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(help="Folders, files or zips.", show_default=False)],
    to: Annotated[str, typer.Option(help="http(s)://.../dicom-web (STOW-RS) or AET@host:port (C-STORE).")] = "",
    api: Api = "",
    wait: Annotated[bool, typer.Option("--wait", help="Declare the study complete and wait for its answer.")] = False,
    out: Annotated[Path | None, typer.Option(help="Save SEG, measurements and overlay here (with --wait).")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 3600.0,
    calling: Annotated[str, typer.Option(help="Our AE title when sending by C-STORE.")] = "SEGLOOPCLIENT",
    as_json: Json = False,
    token_file: Token = None,
) -> None:
    """Send DICOM files; with --wait until every study is answered, or says why not."""
    if out is not None and not wait:
        raise Usage("out_without_wait", "--out saves the answer, so it needs --wait.")
    by_http = to.startswith(("http://", "https://"))
    words, errors = consoles(as_json)
    with open_gateway(to if by_http else api, token_file) as gateway:
        meter = partial(progress.sending, errors)
        sent = gateway.send(paths, to="" if by_http else to, calling=calling, meter=meter)
        summary.print_sent(errors, sent)
        if wait:
            with progress.waiting(errors) as on_change:
                studies = gateway.wait(sent.study_uids, timeout_s=timeout, on_change=on_change)
        else:
            studies = _now(gateway, sent.study_uids)
        saved = [path for study in studies for path in gateway.save(study, out)] if out else []
        if as_json:
            put_json(summary.as_json(studies))
        summary.print_studies(words, studies, gateway.base)
        if saved:
            words.print(f"\n{len(saved)} files saved under {out}", soft_wrap=True)
    raise typer.Exit(summary.exit_code(studies, sent.refused))


def _now(gateway: Gateway, study_uids: Sequence[str]) -> list[Study]:
    """States right after sending; a receiver that is no gateway of ours has none to tell."""
    studies = []
    for uid in study_uids:
        try:
            studies.append(gateway.status(uid))
        except (NotFound, Unreachable, Usage):
            studies.append(Study(study_uid=uid, state="sent"))
    return studies


@app.command()
def status(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID; without it all studies are listed.")] = "",
    state: Annotated[str, typer.Option(help="List only studies in this state.")] = "",
    api: Api = "",
    as_json: Json = False,
    token_file: Token = None,
) -> None:
    """Show what became of a study, or list all."""
    words, _ = consoles(as_json)
    with open_gateway(api, token_file) as gateway:
        if study and as_json:
            put_json(gateway.status_document(study))
        elif study:
            summary.print_studies(words, [gateway.status(study)], gateway.base)
        elif as_json:
            put_json({"studies": gateway.studies(state)})
        else:
            words.print(summary.studies_table(gateway.studies(state)))


@app.command()
def retry(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every study that waits or was not answered.")] = False,
    api: Api = "",
    as_json: Json = False,
    token_file: Token = None,
) -> None:
    """Run again what was refused, failed or not processed, and try waiting deliveries now."""
    if bool(study) == every:
        raise Usage("retry_what", "Give one StudyInstanceUID, or --all.")
    words, _ = consoles(as_json)
    with open_gateway(api, token_file) as gateway:
        states = ("refused", "failed", "not_processed", "delivering")
        uids = [str(one["study_uid"]) for state in states for one in gateway.studies(state, 1000)] if every else [study]
        counts = {uid: gateway.retry(uid) for uid in dict.fromkeys(uids)}
    if as_json:
        put_json({"studies": [{"study_uid": uid, "stacks": count} for uid, count in counts.items()]})
    studies = f"{len(counts)} {'study' if len(counts) == 1 else 'studies'}"
    words.print(f"{studies}: {sum(counts.values())} stacks run again, waiting deliveries are tried now.")


@app.command()
def delete(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    api: Api = "",
    as_json: Json = False,
    token_file: Token = None,
) -> None:
    """Delete a study with its results for good; a tombstone stays."""
    if not yes and not (
        sys.stdin.isatty() and typer.confirm(f"Delete study {study} with its results for good?", err=True)
    ):
        raise Usage("not_confirmed", "Nothing was deleted: add --yes.")
    words, _ = consoles(as_json)
    with open_gateway(api, token_file) as gateway:
        count = gateway.delete(study)
    if as_json:
        put_json({"study_uid": study, "deleted": count})
    words.print(f"Deleted: {count} objects.")


@app.command()
def echo(
    destination: Annotated[str, typer.Argument(help="Its name in DESTINATIONS.", show_default=False)],
    api: Api = "",
    as_json: Json = False,
    token_file: Token = None,
) -> None:
    """Let the gateway ask one of its destinations, by its own protocol, whether it is there."""
    words, _ = consoles(as_json)
    with open_gateway(api, token_file) as gateway:
        answer = gateway.echo(destination)
    if as_json:
        put_json({"ok": answer.ok, "sentence": answer.sentence, "seconds": answer.seconds})
    words.print(f"{answer.sentence} ({answer.seconds:.2f} s)", style="green" if answer.ok else "red", markup=False)
    raise typer.Exit(0 if answer.ok else answer_to(Unreachable("", "")).exit)


@sample.command()
def cardiac(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.", show_default=False)],
    slices: Annotated[int, typer.Option(min=3, max=40)] = 10,
    phases: Annotated[int, typer.Option(min=1, max=60)] = 20,
    split_series: Annotated[
        bool, typer.Option("--split-series", help="One series a slice, as some scanners do.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a synthetic short-axis cine of a beating heart, with its true masks as SEG."""
    from client.samples.cardiac import write_cardiac

    made = write_cardiac(folder, slices=slices, phases=phases, split_series=split_series)
    _tell_sample(folder, made.study_uid, made.paths, made.masks, as_json)


@sample.command()
def skin(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.", show_default=False)],
    photographs: Annotated[int, typer.Option(min=1, max=40)] = 3,
    as_json: Json = False,
) -> None:
    """Write synthetic dermoscopic photographs of lesions, with their true masks as SEG."""
    from client.samples.skin import write_skin

    made = write_skin(folder, photographs=photographs)
    _tell_sample(folder, made.study_uid, made.paths, made.masks, as_json)


def _tell_sample(folder: Path, study_uid: str, paths: Sequence[Path], masks: Sequence[Path], as_json: bool) -> None:
    """Say what was written and how to send it."""
    words, _ = consoles(as_json)
    if as_json:
        put_json({"study_uid": study_uid, "images": [str(path) for path in paths], "masks": [str(m) for m in masks]})
    images = folder / "images"
    words.print(f"{len(paths)} images in {images}, {len(masks)} masks in {folder / 'masks'}", soft_wrap=True)
    words.print(f"Send them: {PROGRAM} send {images} --wait --out results", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; errors of ours become one sentence."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=given, prog_name=PROGRAM)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except SegloopError as error:
        Console(stderr=True, highlight=False).print(error.sentence, style="red", markup=False, soft_wrap=True)
        if "--json" in given:
            put_json({"code": error.code, "reason": error.sentence})
        return answer_to(error).exit
    return 0


if __name__ == "__main__":
    sys.exit(main())
