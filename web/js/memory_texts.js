// The panel's texts in the language of the editor: English stands in the code, others in locales/*/main.json.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

let texts = {};

export const locale = () => app.extensionManager?.setting?.get?.("Comfy.Locale") || "en";

export async function loadTexts() {
  try {
    const all = await (await api.fetchApi("/i18n")).json();
    texts = all[locale()]?.diversityMemory ?? {};
  } catch {
    texts = {};
  }
}

// say("{count} images", { count: 3 })
export function say(english, values = {}) {
  const text = texts[english] ?? english;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
