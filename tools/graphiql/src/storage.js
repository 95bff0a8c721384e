// What the page keeps between visits: tabs, history, layout. Never headers, for the key is in them;
// GraphiQL's history would keep them whatever `shouldPersistHeaders` says.
const TABS = 'graphiql:tabState';
const OF_ACTIVE_TAB = { 'graphiql:query': 'query', 'graphiql:variables': 'variables' };

function withoutHeaders(text) {
  try {
    return JSON.stringify(JSON.parse(text, (name, value) => (name === 'headers' ? null : value)));
  } catch {
    return text;
  }
}

// GraphiQL stores these a second time, not in the same moment; where the two differ when the page
// opens again it would add a tab.
function readActiveTab(name) {
  try {
    const { tabs, activeTabIndex } = JSON.parse(localStorage.getItem(TABS));
    return tabs[activeTabIndex][name];
  } catch {
    return null;
  }
}

export const storage = {
  get length() {
    return localStorage.length;
  },
  getItem: (name) =>
    name in OF_ACTIVE_TAB ? readActiveTab(OF_ACTIVE_TAB[name]) : localStorage.getItem(name),
  setItem: (name, text) => {
    if (name in OF_ACTIVE_TAB || name.endsWith(':headers')) return;
    localStorage.setItem(name, withoutHeaders(text));
  },
  removeItem: (name) => localStorage.removeItem(name),
  clear: () => localStorage.clear(),
};
