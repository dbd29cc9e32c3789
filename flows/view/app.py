"""Routes of the explorer. Every page is a function of (`Visit`) in `pages/`; here are errors and versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.view import versions
from flows.view.checking import Checking
from flows.view.computing import Computing
from flows.view.connections import Connections
from flows.view.credit import Tokenizers
from flows.view.guard import Guard
from flows.view.pages import records, runs, sql, store, tables
from flows.view.programs import code_styles
from flows.view.runs import RunError
from flows.view.schedules import Schedules
from flows.view.search import Finder
from flows.view.visit import STATIC, Explorer, NotFound, Visit, new_environment, parameters_of
from pipeline.store import SqlError, Store, StoreError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

Page = Callable[[Visit], Any]
PAGES: dict[str, Page] = {
    "/": store.home,
    "/table/{name}": tables.window_page,
    "/facets/{name}": tables.facets_page,
    "/sql": sql.sql_page,
    "/words": sql.words,
    "/download": sql.download,
    "/download/{name}": sql.download_table,
    "/problem": records.problem,
    "/trajectory": records.trajectory,
    "/policy": records.policy,
    "/corpus": records.corpus,
    "/comparison": records.comparison,
    "/batch": records.batch,
    "/refused": records.refused,
    "/quarantine": store.quarantine,
    "/growth": store.growth,
    "/checks": store.checks,
    "/schedules": store.schedules,
    "/find": records.find,
    "/runs": runs.overview,
    "/run": runs.run,
    "/progress": runs.progress,
    "/step": runs.step,
    "/drawn": runs.drawn,
}


def application(
    location: str,
    token: str,
    *,
    runs_folder: Path,
    at: str | None = None,
    port: int | None = None,
    cache: Path | None = None,
    schedules: Callable[[], Schedules | None] = lambda: None,
) -> Starlette:
    """The explorer of the store at `location`.

    `at`: versions (see `versions.py`) or the label of a pin, that pages without their own read; None for the
    newest. `port`: the port that the Host header must name. `cache`: the folder for indexes of words; None
    searches without one. `schedules`: asks for the scheduled flows. Raises StoreError for wrong versions.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    connections = Connections(location)
    explorer = Explorer(
        location=location,
        runs=runs_folder,
        connections=connections,
        finder=Finder(connections, cache),
        computing=Computing(location, runs_folder),
        checking=Checking(location),
        schedules=schedules,
        environment=new_environment(),
        tokenizers=Tokenizers(runs_folder),
        versions=versions.resolve(Store(location), at) if at else None,
    )
    styles = code_styles()

    def code_css(_: Request) -> Response:
        return PlainTextResponse(styles, media_type="text/css")

    routes = [
        *(Route(path, _endpoint(explorer, page)) for path, page in PAGES.items()),
        Route("/static/code.css", code_css),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, token=token, port=port)])


def _endpoint(explorer: Explorer, page: Page) -> Callable[[Request], Response]:
    """A route. It is a plain function, so that Starlette runs it in a thread."""

    def endpoint(request: Request) -> Response:
        from starlette.responses import HTMLResponse, RedirectResponse, Response

        parameters = parameters_of(request.scope["query_string"])
        at = next((value for name, value in reversed(parameters) if name == "at"), "")
        others = [pair for pair in parameters if pair[0] != "at"]
        status, title = 400, "This address cannot be shown"
        try:
            if at or explorer.versions:
                others = [pair for pair in others if pair[0] != "follow"]
            follows = ("follow", "1") in others
            pinned = versions.resolve(Store(explorer.location), at or explorer.versions)
            if pinned != at and not follows:
                # The address then names its versions: copied, it shows the same rows later.
                bare = Visit(explorer, None, pinned, request.url.path, others, {})  # type: ignore[arg-type]
                return RedirectResponse(bare.here(), 303)
            with explorer.connections.at(pinned) as connection:
                visit = Visit(explorer, connection, pinned, request.url.path, others, request.path_params)
                answer = page(visit)
            if isinstance(answer, Response):
                return answer
            template, facts = answer
            return HTMLResponse(_rendered(explorer, template, facts, visit))
        except (NotFound, RunError) as error:
            status, title, reason = 404, "Not found", str(error)
        except StoreError as error:
            status, title, reason = 409, "The store cannot be read at these versions", str(error)
        except (SqlError, ValueError) as error:
            reason = str(error)
        plain = Visit(explorer, None, "", request.url.path, others, {})  # type: ignore[arg-type]
        facts = {"title": title, "reason": reason}
        return HTMLResponse(_rendered(explorer, "error.html", facts, plain), status)

    return endpoint


def _rendered(explorer: Explorer, template: str, facts: dict[str, Any], visit: Visit) -> str:
    page = explorer.environment.get_template(template)
    return page.render(**facts, visit=visit, store=explorer.location)
