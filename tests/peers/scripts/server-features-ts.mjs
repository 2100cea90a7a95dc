// A server that asks its client for everything there is, on TypeScript server 2, which speaks
// 2026-07-28 alone here, on 127.0.0.1:PORT/mcp.
import { createServer } from 'node:http';

import { load } from './peers.mjs';

const { McpServer, createMcpHandler, inputRequired } = load('@modelcontextprotocol/server');
const { toNodeHandler } = load('@modelcontextprotocol/node');
const z = load('zod');

const text = (said) => ({ content: [{ type: 'text', text: said }] });

// A tool that asks one question and answers with what was said.
function asks(server, name, question, answered) {
  const config = { description: 'Asks the client', inputSchema: z.object({}) };
  server.registerTool(name, config, async (_given, { mcpReq }) => {
    const response = mcpReq.inputResponses?.question;
    return response ? text(answered(response)) : inputRequired({ inputRequests: { question } });
  });
}

function build() {
  const server = new McpServer({ name: 'features-ts', version: '1.0.0' });
  server.registerTool(
    'greet',
    { description: 'Greets', inputSchema: z.object({ name: z.string() }) },
    async ({ name }) => text(`Hello, ${name}!`),
  );
  server.registerTool(
    'count',
    { description: 'Counts up', inputSchema: z.object({ steps: z.number() }) },
    async ({ steps }, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (let progress = 1; progressToken !== undefined && progress <= steps; progress += 1) {
        const params = { progressToken, progress, total: steps };
        await mcpReq.notify({ method: 'notifications/progress', params });
        // mcp-remote lets a result overtake what came just before it.
        await new Promise((later) => setTimeout(later, 200));
      }
      return text(`counted to ${steps}`);
    },
  );
  const content = { type: 'text', text: 'capital?' };
  const form = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
  const elicit = inputRequired.elicit({ message: 'Who are you?', requestedSchema: form });
  asks(server, 'ask_name', elicit, ({ content: said }) => `You are ${said.name}.`);
  const messages = [{ role: 'user', content }];
  const sample = inputRequired.createMessage({ messages, maxTokens: 10 });
  asks(server, 'ask_model', sample, (said) => `It says ${[said.content].flat()[0].text}.`);
  asks(server, 'ask_roots', inputRequired.listRoots(), ({ roots }) => `At ${roots[0].uri}.`);
  server.registerResource('note', 'note://static', { mimeType: 'text/plain' }, async ({ href }) => ({
    contents: [{ uri: href, mimeType: 'text/plain', text: 'a static note' }],
  }));
  server.registerPrompt(
    'visit',
    { description: 'Plans a visit', argsSchema: z.object({ city: z.string() }) },
    ({ city }) => ({
      messages: [{ role: 'user', content: { type: 'text', text: `Plan a visit to ${city}.` } }],
    }),
  );
  return server;
}

const handle = toNodeHandler(createMcpHandler(build, { legacy: 'reject' }));
createServer((request, response) => {
  if (new URL(request.url, 'http://localhost').pathname === '/mcp') return handle(request, response);
  response.writeHead(404).end();
}).listen(Number(process.env.PORT), '127.0.0.1');
