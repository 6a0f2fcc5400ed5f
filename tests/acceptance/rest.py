"""Authentik's REST API, as any client would write it."""

from __future__ import annotations

from typing import Any

import httpx2


class Rest:
    """Asks with one token. What :meth:`make` makes, :meth:`tidy` removes."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self._made: list[str] = []

    async def ask(self, method: str, path: str, body: Any = None, /, **query: Any) -> httpx2.Response:
        """One call of the API."""
        return await self.http.request(method, f"/api/v3/{path}", json=body, params=query or None)

    async def get(self, path: str, /, **query: Any) -> Any:
        """A document that is there."""
        answer = await self.ask("GET", path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def rows(self, path: str, /, **query: Any) -> list[dict[str, Any]]:
        """The first page of a list."""
        return list((await self.get(path, **query))["results"])

    async def make(self, path: str, /, *, key: str = "pk", **body: Any) -> dict[str, Any]:
        """A new object; ``key`` is the field that its own path ends in."""
        answer = await self.ask("POST", path, body)
        assert answer.status_code in {200, 201}, answer.text
        made = dict(answer.json())
        self._made.append(f"{path}{made[key]}/")
        return made

    async def change(self, path: str, method: str = "PATCH", /, **body: Any) -> dict[str, Any]:
        """A change that is taken."""
        answer = await self.ask(method, path, body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def tidy(self) -> None:
        """Remove what was made, the last first."""
        for path in reversed(self._made):
            answer = await self.ask("DELETE", path)
            assert answer.status_code in {204, 404}, answer.text
        self._made.clear()
