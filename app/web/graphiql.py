"""GraphiQL: the page with its nonce and example documents, and the files that it loads."""

import gzip
import secrets
from importlib.resources import files
from pathlib import Path

import orjson
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

_STATIC = Path(str(files("app.web") / "static"))
_FOLDER = _STATIC / "graphiql"
_HASHES: dict[str, str] = orjson.loads((_FOLDER / "manifest.json").read_bytes())["files"]
_EXAMPLES = [path.read_text("utf-8") for path in sorted((_STATIC / "examples").glob("*.graphql"))]
_BINARY = {".ttf", ".woff2"}
_MEDIA = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}

# Monaco sets `style` attributes and makes <style> elements; those carry the nonce.
_POLICY = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "style-src-elem 'self' 'nonce-{nonce}'; "
    "style-src-attr 'unsafe-inline'; "
    "connect-src 'self'; "
    "worker-src 'self'; "
    "font-src 'self'; "
    "img-src 'self' data:; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'"
)

# Addresses are relative, so that the page also works behind a proxy that adds a prefix.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="csp-nonce" content="{nonce}">
<title>backup-gateway: GraphiQL</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="graphql/assets/graphiql.css">
<script type="application/json" id="examples">{examples}</script>
<script type="module" src="graphql/assets/graphiql.js"></script>
</head>
<body>
<div id="graphiql"><noscript>This page needs JavaScript.</noscript></div>
</body>
</html>
"""


def show_page() -> Response:
    """The page. It holds nothing secret, so that a browser gets it without a key."""
    nonce = secrets.token_urlsafe(18)
    # Within <script> only `<` could end the text.
    examples = orjson.dumps(_EXAMPLES).decode().replace("<", "\\u003c")
    return HTMLResponse(
        _PAGE.format(nonce=nonce, examples=examples),
        headers={
            "content-security-policy": _POLICY.format(nonce=nonce),
            "cache-control": "no-store",
            "cross-origin-opener-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "vary": "Accept",
            "x-content-type-options": "nosniff",
        },
    )


async def send_asset(request: Request) -> Response:
    """One of the files that the manifest names. Texts are stored as they are sent: gzipped."""
    name: str = request.path_params["name"]
    if name not in _HASHES:
        return Response(status_code=404)
    headers = {
        # The browser asks whether its copy is still right: an upgrade is seen at once.
        "cache-control": "no-cache",
        "content-security-policy": "default-src 'none'",
        "etag": f'W/"{_HASHES[name]}"',
        "vary": "Accept-Encoding",
        "x-content-type-options": "nosniff",
    }
    if _HASHES[name] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    suffix = Path(name).suffix
    kind = _MEDIA[suffix]
    if suffix in _BINARY:
        return FileResponse(_FOLDER / name, media_type=kind, headers=headers)
    packed = _FOLDER / f"{name}.gz"
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        headers["content-encoding"] = "gzip"
        return FileResponse(packed, media_type=kind, headers=headers)
    text = await to_thread.run_sync(_unpack, packed)
    return Response(text, media_type=kind, headers=headers)


def _unpack(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def _takes_gzip(accept: str) -> bool:
    for part in accept.lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if name in {"gzip", "*"}:
            return weight.strip("0.") != "" or weight == ""
    return False
