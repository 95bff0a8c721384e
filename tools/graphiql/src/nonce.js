// Monaco makes <style> elements: give each the nonce of the page's Content-Security-Policy.
// Imported first, so that nothing has made one before.
const nonce = document.querySelector('meta[name="csp-nonce"]').content;
const createElement = Document.prototype.createElement;
Document.prototype.createElement = function (name, options) {
  const element = createElement.call(this, name, options);
  if (String(name).toLowerCase() === 'style') element.nonce = nonce;
  return element;
};
