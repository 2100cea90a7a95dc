"""A FastMCP 1.30 server over HTTP+SSE of 2024-11-05, on 127.0.0.1:PORT/sse."""

import os

from mcp.server.fastmcp import FastMCP

server = FastMCP("sse-only", host="127.0.0.1", port=int(os.environ["PORT"]), log_level="WARNING")


@server.tool()
def shout(text: str) -> str:
    """Returns the text in capitals."""
    return text.upper()


@server.tool()
def reverse(text: str) -> str:
    """Returns the text backwards."""
    return text[::-1]


server.run(transport="sse")
