"""fastmcp's own proxy over the servers of an MCP configuration file: FILE PORT."""

import json
import sys

from fastmcp.server.server import create_proxy

with open(sys.argv[1], encoding="utf-8") as file:
    servers = json.load(file)
proxy = create_proxy(servers, name="bench")
proxy.run(
    transport="http",
    host="127.0.0.1",
    port=int(sys.argv[2]),
    path="/mcp",
    show_banner=False,
    log_level="error",
)
