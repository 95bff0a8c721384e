// Sends operations: queries and mutations by POST, subscriptions over graphql-transport-ws.
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { Kind, parse } from 'graphql';
import { createClient } from 'graphql-ws';
import { completeHeaders, nextAuthorization, readAuthorization } from './key.js';

const url = new URL(location.pathname, location.href).href;
const INTROSPECTION = 'IntrospectionQuery';
const LONGEST_WAIT_MS = 10_000;

let socketHeaders = {}; // of the newest subscription; there is only one at a time

const wsClient = createClient({
  url: url.replace(/^http/, 'ws'),
  connectionParams: () => socketHeaders,
  keepAlive: 10_000,
  retryAttempts: Infinity, // a gateway that starts again goes on where it was
  retryWait: (retries) =>
    new Promise((resolve) =>
      setTimeout(resolve, Math.min(500 * 2 ** retries, LONGEST_WAIT_MS) * (0.75 + Math.random() / 2)),
    ),
});

let answeredStatus = 0; // of the newest introspection

const send = createGraphiQLFetcher({
  url,
  wsClient,
  enableIncrementalDelivery: false,
  schemaFetcher: async (params, options) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...options?.headers },
      body: JSON.stringify(params),
    });
    answeredStatus = response.status;
    return response.json();
  },
});

// The schema is asked for when the page opens, before there is a key: wait for one, and for a
// better one where it was refused.
async function introspect(params, options) {
  for (;;) {
    const headers = completeHeaders(options?.headers);
    if (readAuthorization() !== null) {
      const answer = await send(params, { ...options, headers });
      if (answeredStatus !== 401) return answer;
    }
    await nextAuthorization();
    options = { ...options, headers: {} };
  }
}

// The page learns a moment late which operations a text has that was opened or pasted: run at once,
// it names one of the text before, and takes the way that was right for that one.
function readNow(params, options) {
  let documentAST;
  try {
    documentAST = parse(params.query);
  } catch {
    return [params, options]; // the gateway says what is wrong with it
  }
  const names = documentAST.definitions
    .filter(({ kind }) => kind === Kind.OPERATION_DEFINITION)
    .map(({ name }) => name?.value);
  const known = names.includes(params.operationName) || names.length !== 1;
  const operationName = known ? params.operationName : names[0];
  return [{ ...params, operationName }, { ...options, documentAST }];
}

export function fetcher(params, options) {
  if (params.operationName === INTROSPECTION) return introspect(params, options);
  const headers = completeHeaders(options?.headers);
  socketHeaders = headers;
  return send(...readNow(params, { ...options, headers }));
}
