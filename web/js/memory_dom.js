// Small helpers for building elements; data only ever becomes text or an attribute, never HTML.

export function make(tag, options = {}, ...children) {
  const { class: names, text, on = {}, ...attributes } = options;
  const element = document.createElement(tag);
  if (names) element.className = names;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const icon = (name) => make("i", { class: `pi pi-${name}`, "aria-hidden": "true" });

export function button(name, title, listener, options = {}) {
  const { text, ...rest } = options;
  const label = text === undefined ? [] : [make("span", { text })];
  return make("button", { type: "button", title, "aria-label": title, on: { click: listener }, ...rest }, icon(name), ...label);
}

export function megabytes(bytes) {
  if (bytes < 1e5) return `${Math.max(Math.round(bytes / 1e3), bytes ? 1 : 0)} KB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
