// A server that speaks 2026-07-28 alone, on 127.0.0.1:PORT/mcp.
import { createServer } from 'node:http';

import { load } from './peers.mjs';

const { McpServer, createMcpHandler } = load('@modelcontextprotocol/server');
const { toNodeHandler } = load('@modelcontextprotocol/node');
const z = load('zod');

function build() {
  const server = new McpServer({ name: 'modern-only', version: '1.0.0' });
  server.registerTool(
    'greet',
    {
      title: 'Greet',
      description: 'Greets somebody by name',
      inputSchema: z.object({ name: z.string() }),
      annotations: { readOnlyHint: true },
    },
    async ({ name }) => ({ content: [{ type: 'text', text: `Hello, ${name}!` }] }),
  );
  server.registerTool(
    'multiply',
    {
      description: 'Multiplies two numbers',
      inputSchema: z.object({ a: z.number(), b: z.number() }),
      outputSchema: z.object({ product: z.number() }),
    },
    async ({ a, b }) => ({
      content: [{ type: 'text', text: String(a * b) }],
      structuredContent: { product: a * b },
    }),
  );
  server.registerTool(
    'refuse',
    { description: 'Always fails', inputSchema: z.object({}) },
    async () => ({ content: [{ type: 'text', text: 'no' }], isError: true }),
  );
  return server;
}

const handle = toNodeHandler(createMcpHandler(build, { legacy: 'reject' }));
createServer((request, response) => {
  if (new URL(request.url, 'http://localhost').pathname === '/mcp') return handle(request, response);
  response.writeHead(404).end();
}).listen(Number(process.env.PORT), '127.0.0.1');
