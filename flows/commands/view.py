"""`spo view`: the explorer, a read-only web page over a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.common import DATA, STORE, StoreOption, open_store
from flows.display.terminal import echo

if TYPE_CHECKING:
    import socket

TOKEN_NAME = "view-token"
CACHE_NAME = "view-cache"  # indexes of words; may be deleted at any time


def view(
    queries: Annotated[
        list[str] | None, typer.Argument(help="With --bundle: addresses of pages, ids, or SQL.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Write pages into this new folder, which opens from disk, and end."),
    ] = None,
    depth: Annotated[
        int, typer.Option(min=0, max=3, help="With --bundle: links that are followed from the pages.")
    ] = 1,
    store: StoreOption = STORE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8181,
    at: Annotated[
        str | None,
        typer.Option("--at", help="Versions from the address of a page, or a pin; default: the newest."),
    ] = None,
    runs: Annotated[
        Path, typer.Option(help="Folder of training runs, for their curves and their tokenizers.")
    ] = DATA / "runs",
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the default browser.")] = False,
) -> None:
    """Look at a store in the browser: tables, problems, trajectories, runs, corpora. Read-only, on this
    machine only.

    Every address names the versions of the store that it shows. Open the printed address once; it has the
    token, which the browser then keeps as a cookie.

    Examples: `spo view` -- `spo view --store s3://bucket/store` -- `spo view --at paper-figure-3`
    -- `spo view --bundle figure-3 starter/mean/1 "select verdict, count(*) from judged group by all"`
    """
    if bundle is not None or queries:
        return bundled(open_store(store).location, bundle, queries or [], runs, at, depth)
    serve(open_store(store).location, port, at, runs, browser)


def bundled(
    location: str, folder: Path | None, queries: list[str], runs: Path, at: str | None, depth: int
) -> None:
    """Raises BadParameter for a query without a page, and for a folder that exists."""
    from flows.view import BundleError, write_bundle

    if folder is None:
        raise typer.BadParameter("pages are named only for a folder: --bundle FOLDER", param_hint="QUERIES")
    if folder.exists():
        raise typer.BadParameter(f"{folder} exists; name a new folder", param_hint="--bundle")
    try:
        bundle = write_bundle(location, folder, queries or ["/"], runs_folder=runs, at=at, depth=depth)
    except BundleError as error:
        raise typer.BadParameter(str(error), param_hint="QUERIES") from error
    beyond = f"; {len(bundle.beyond)} more links were not followed" if bundle.beyond else ""
    echo(f"{len(bundle.pages)} pages in {folder / 'index.html'}{beyond}", err=True)


def serve(location: str, port: int, at: str | None, runs: Path, browser: bool) -> None:
    """Serve the explorer until Ctrl-C."""
    import socket

    import uvicorn

    from flows.commands.running_explorer import Doorstep, recorded
    from flows.commands.serve_judge import generated_token
    from flows.view import application, read_schedules

    token = generated_token(DATA / TOKEN_NAME)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = bound_port(listener, port)
        cache = DATA / CACHE_NAME
        app = application(
            location, token, runs_folder=runs, at=at, port=port, cache=cache, schedules=read_schedules
        )
        address = f"http://127.0.0.1:{port}/?token={token}"
        echo(f"explorer of {location}: {address}\nCtrl-C ends it", err=True)
        if browser:
            import webbrowser

            webbrowser.open(address)
        config = uvicorn.Config(Doorstep(app), log_level="warning", server_header=False, access_log=False)
        listener.listen()
        try:
            with recorded(f"http://127.0.0.1:{port}", location, runs):
                uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            sys.exit(0)


def bound_port(listener: socket.socket, port: int) -> int:
    """Bind to a port of this machine alone. Returns it; 0 takes a free one."""
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise typer.BadParameter(
            f"cannot listen on port {port}: {error.strerror}; choose another, or 0", param_hint="--port"
        ) from error
    return listener.getsockname()[1]
