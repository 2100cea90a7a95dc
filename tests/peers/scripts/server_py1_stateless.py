"""A FastMCP 1.30 server that keeps no sessions and answers in JSON, on 127.0.0.1:PORT/mcp."""

import os

from mcp.server.fastmcp import FastMCP

server = FastMCP(
    "stateless",
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    log_level="WARNING",
    stateless_http=True,
    json_response=True,
)


@server.tool()
def count(text: str) -> int:
    """Counts the characters of the text."""
    return len(text)


@server.tool()
def repeat(text: str, times: int) -> str:
    """Repeats the text."""
    return text * times


server.run(transport="streamable-http")
