"""What is done with files and folders once it is known that the caller may (facts/ocis.md 3)."""

from __future__ import annotations

import uuid

from aiohttp import web

from tests.sandbox.ocis.store import Space


async def propfind(space: Space, request: web.Request) -> web.Response:
    """What is at a path, and with ``Depth: 1`` (which is what nothing means here) the space's files too."""
    path = request.match_info.get("path", "").strip("/")
    if space.node(path) is None:
        return web.Response(status=404)
    names = [path] if request.headers.get("Depth") == "0" or path else ["", *space.files, *space.folders]
    found = "".join(
        f"<d:response><d:href>/dav/spaces/{space.id}/{name}</d:href><d:propstat><d:prop><oc:fileid>{space.node(name)}"
        "</oc:fileid></d:prop></d:propstat></d:response>"
        for name in names
    )
    body = f"<d:multistatus xmlns:d='DAV:' xmlns:oc='http://owncloud.org/ns'>{found}</d:multistatus>"
    return web.Response(status=207, text=body, content_type="application/xml")


async def mkcol(space: Space, request: web.Request) -> web.Response:
    """No body, nothing there yet; and no id comes back."""
    path = request.match_info.get("path", "").strip("/")
    if await request.read():
        return web.Response(status=415)
    if space.node(path) is not None:
        return web.Response(status=405)
    if space.node(path.rpartition("/")[0]) is None:
        return web.Response(status=409)
    space.folders[path] = str(uuid.uuid4())
    return web.Response(status=201)


async def get(space: Space, request: web.Request) -> web.Response:
    content = space.files.get(request.match_info.get("path", ""))
    return web.Response(status=404) if content is None else web.Response(body=content)


async def put(space: Space, request: web.Request) -> web.Response:
    path, content = request.match_info.get("path", ""), await request.read()
    if space.quota and space.used + len(content) > space.quota:
        return web.Response(status=507)
    existed = path in space.files
    space.files[path] = content
    return web.Response(status=204 if existed else 201)


async def delete(space: Space, request: web.Request) -> web.Response:
    path = request.match_info.get("path", "")
    gone = space.files.pop(path, None) or space.folders.pop(path, None)
    return web.Response(status=404 if gone is None else 204)


VERBS = {"PROPFIND": propfind, "GET": get, "PUT": put, "DELETE": delete, "MKCOL": mkcol}
