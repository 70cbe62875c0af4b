// Making and finding elements. Whatever comes from an event goes through `text`, never through markup.

const SVG = 'http://www.w3.org/2000/svg';

export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element "${id}"`);
  return found;
}

/**
 * Makes an element.
 *
 * `options`: `class`, `text`, `data` (data attributes), `on` (listeners), `attributes`; all may be left out.
 * Children are nodes or text; null and undefined are skipped.
 */
export function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  if (options.class) made.className = options.class;
  if (options.text !== undefined) made.textContent = options.text;
  for (const [key, value] of Object.entries(options.data ?? {})) made.dataset[key] = value;
  for (const [key, value] of Object.entries(options.attributes ?? {})) made.setAttribute(key, value);
  for (const [key, listener] of Object.entries(options.on ?? {})) made.addEventListener(key, listener);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** An icon of the sprite in index.html. With a label it is an image to screen readers, without one it is decoration. */
export function icon(name, label) {
  const made = document.createElementNS(SVG, 'svg');
  made.setAttribute('class', 'icon');
  made.setAttribute('viewBox', '0 0 20 20');
  made.setAttribute('focusable', 'false');
  if (label) {
    made.setAttribute('role', 'img');
    made.setAttribute('aria-label', label);
  } else {
    made.setAttribute('aria-hidden', 'true');
  }
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#icon-${name}`);
  made.append(use);
  return made;
}

/** Writes text only where it differs, so that live regions speak and layout happens only on change. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Copies text and tells by the button's own words whether it worked. */
export async function copy(text, button) {
  const before = button.dataset.words ?? button.textContent;
  button.dataset.words = before;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Select and copy';
  }
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = String(setTimeout(() => (button.textContent = before), 1600));
}
