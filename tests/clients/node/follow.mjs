// Carries out one operation with the client KIND (ws or sse), and tells as one JSON object a line
// what it sees: {"result"}, {"opened"}, {"error"}, and last {"end"}.
import { createClient as createStreams } from 'graphql-sse';
import { createClient as createSockets } from 'graphql-ws';
import WebSocket from 'ws';

const [kind, url, token, query, variables, attempts] = process.argv.slice(2);
const tell = (line) => console.log(JSON.stringify(line));
const retries = {
  retryAttempts: Number(attempts),
  retryWait: () => new Promise((go) => setTimeout(go, 100)),
};
const authorization = `Bearer ${token}`;
const client =
  kind === 'ws'
    ? createSockets({
        url: url.replace(/^http/, 'ws'),
        webSocketImpl: WebSocket,
        connectionParams: { Authorization: authorization },
        // By default a refused connection, while the gateway starts again, is not tried again.
        shouldRetry: () => true,
        on: { opened: () => tell({ opened: true }) },
        ...retries,
      })
    : createStreams({
        url,
        headers: { authorization },
        on: { connecting: () => tell({ opened: true }) },
        ...retries,
      });
try {
  for await (const result of client.iterate({ query, variables: JSON.parse(variables) }))
    tell({ result });
} catch (error) {
  tell({
    error: Array.isArray(error)
      ? { errors: error }
      : { code: error.code, reason: error.reason, status: error.response?.status, message: error.message },
  });
}
client.dispose();
tell({ end: true });
