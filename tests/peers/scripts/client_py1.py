"""Python SDK 1: legacy only. client_py1.py URL CALLS http|sse; CALLS is a JSON list of [tool, arguments]."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client


@asynccontextmanager
async def streams(url, transport):
    opened = sse_client(url) if transport == "sse" else streamable_http_client(url)
    async with opened as (read, write, *_):
        yield read, write


async def main(url, calls, transport):
    async with streams(url, transport) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools, cursor = [], None
        while True:
            page = await session.list_tools(cursor)
            tools += [entry.name for entry in page.tools]
            cursor = page.nextCursor
            if cursor is None:
                break
        results = []
        for tool, arguments in calls:
            try:
                answer = await session.call_tool(tool, arguments)
                results.append(answer.model_dump(mode="json", by_alias=True, exclude_none=True))
            except Exception as error:  # reported in its place; the next call is still made
                results.append({"failed": repr(error)})
        print(json.dumps({"tools": tools, "results": results}), flush=True)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]))
