"""Python SDK 2. client_py2.py URL CALLS auto|legacy|modern; CALLS is a JSON list of [tool, arguments]."""

import asyncio
import json
import sys

from mcp import Client


async def main(url, calls, mode):
    async with Client(url, mode="2026-07-28" if mode == "modern" else mode) as client:
        tools, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools += [entry.name for entry in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        results = []
        for tool, arguments in calls:
            try:
                answer = await client.call_tool(tool, arguments)
                results.append(answer.model_dump(mode="json", by_alias=True, exclude_none=True))
            except Exception as error:  # reported in its place; the next call is still made
                results.append({"failed": repr(error)})
        print(json.dumps({"tools": tools, "results": results}), flush=True)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]))
