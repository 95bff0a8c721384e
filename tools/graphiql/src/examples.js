// The example documents that the gateway put into the page, as tabs.
import { Kind, parse } from 'graphql';

const PLAIN = { Int: 0, Float: 0, Boolean: false };

function blank(type) {
  if (type.kind === Kind.NON_NULL_TYPE) return blank(type.type);
  if (type.kind === Kind.LIST_TYPE) return [blank(type.type)];
  return PLAIN[type.name.value] ?? '';
}

// Every variable without a default, to be filled in.
function readVariables(query) {
  const variables = {};
  for (const definition of parse(query).definitions) {
    for (const { variable, type, defaultValue } of definition.variableDefinitions ?? []) {
      if (!defaultValue) variables[variable.name.value] = blank(type);
    }
  }
  return Object.keys(variables).length === 0 ? '' : JSON.stringify(variables, null, 2);
}

export const readTabs = (headers) =>
  JSON.parse(document.getElementById('examples').textContent).map((query) => ({
    query,
    variables: readVariables(query),
    headers,
  }));
