// The audit suite of GraphQL over HTTP against URL with the key TOKEN; one JSON object a line.
import { auditServer } from 'graphql-http';

const [url, token] = process.argv.slice(2);
const fetchFn = (address, init = {}) =>
  fetch(address, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } });
for (const { id, name, status, reason } of await auditServer({ url, fetchFn }))
  console.log(JSON.stringify({ id, name, status, reason }));
