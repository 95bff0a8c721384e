// GraphiQL for this gateway.
import './nonce.js';
import { createElement, useEffect, useSyncExternalStore } from 'react';
import { createRoot } from 'react-dom/client';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { pick, useGraphiQL } from '@graphiql/react';
import { explorerPlugin } from '@graphiql/plugin-explorer';
import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './page.css';
import { readTabs } from './examples.js';
import { fetcher } from './fetcher.js';
import { fillIn, noteHeaders, onAuthorization, readAuthorization } from './key.js';
import { storage } from './storage.js';

const HEADERS = '{\n  "Authorization": "Bearer "\n}';
const SHOWN = 'bg_12345678'.length; // the public part of a key
const assets = new URL('.', import.meta.url);
const WORKERS = { json: 'json.worker.js', graphql: 'graphql.worker.js' };

globalThis.MonacoEnvironment = {
  getWorker: (_id, label) =>
    new Worker(new URL(WORKERS[label] ?? 'editor.worker.js', assets), { type: 'module' }),
};

const picked = pick('activeTabIndex', 'headerEditor', 'variableEditor');
const pickedTheme = pick('actions', 'theme');
const darkness = matchMedia('(prefers-color-scheme: dark)');

// Where the visitor chose no theme, the editors change with the system's, as the rest of the page does.
function useSystemTheme() {
  const { actions, theme } = useGraphiQL(pickedTheme);
  useEffect(() => {
    const follow = () => theme === null && actions.setTheme(null);
    darkness.addEventListener('change', follow);
    return () => darkness.removeEventListener('change', follow);
  }, [actions, theme]);
}

// Below the answer: whether there is a key. It also writes the key into the headers of a tab that is
// opened, and shows the variables there, which are what is wanted next.
function KeyState() {
  useSystemTheme();
  const authorization = useSyncExternalStore(onAuthorization, readAuthorization);
  const { activeTabIndex, headerEditor, variableEditor } = useGraphiQL(picked);
  useEffect(() => {
    if (authorization === null || !headerEditor || !variableEditor) return;
    const written = headerEditor.getValue();
    const filled = fillIn(written, authorization);
    if (filled !== written) headerEditor.setValue(filled);
    if (variableEditor.getValue() !== '') {
      document.querySelector('.graphiql-editor-tools [data-name="variables"]')?.click();
    }
    // Not when the key changes: it is being written in this tab.
  }, [activeTabIndex, headerEditor, variableEditor]);
  const text =
    authorization === null
      ? 'No API key yet: write it behind “Bearer ” in Headers, below the query. The documentation loads with it.'
      : `Every tab uses the key ${authorization.slice('Bearer '.length, 'Bearer '.length + SHOWN)}… until this page is closed. It is not stored.`;
  return createElement('p', { className: 'key-state', role: 'status' }, text);
}

createRoot(document.getElementById('graphiql')).render(
  createElement(
    GraphiQL,
    {
      fetcher,
      storage,
      plugins: [HISTORY_PLUGIN, explorerPlugin({ showAttribution: false })],
      defaultEditorToolsVisibility: 'headers',
      defaultHeaders: HEADERS,
      defaultTabs: readTabs(HEADERS),
      inputValueDeprecation: true,
      schemaDescription: true,
      shouldPersistHeaders: false,
      showPersistHeadersSettings: false,
      onEditHeaders: noteHeaders,
    },
    createElement(GraphiQL.Logo, null, 'backup-gateway'),
    createElement(GraphiQL.Footer, null, createElement(KeyState)),
  ),
);
